#!/usr/bin/env bash
# A linear multi-rate VAE on MNIST against its closed-form optimum. About five minutes of one CPU core.
set -euo pipefail
cd "$(dirname "$0")/.."
run=runs/mnist-linear

multirate train --data mnist --model linear --response water-filling --epochs 30 --learning-rate 0.003 \
    --response-learning-rate 0.04 --out "$run" --resume
multirate plot "$run" --optimum

mkdir -p results/mnist-linear
cp "$run"/optimum.json "$run"/figures/optimum.png results/mnist-linear/
