#!/usr/bin/env bash
# The linear multi-rate VAE of mnist-linear.sh at seven pairs of step sizes: weights, response. Ten minutes of one CPU core.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p results/mnist-linear
for pair in ${1:-0.003,0.001 0.003,0.003 0.003,0.015 0.003,0.04 0.003,0.1 0.006,0.018 0.01,0.01}; do
    run="runs/mnist-linear-steps/$pair"
    multirate train --data mnist --model linear --response water-filling --epochs 30 \
        --learning-rate "${pair%,*}" --response-learning-rate "${pair#*,}" --out "$run" --resume
    multirate evaluate "$run" --betas 0.01,0.1,1,10 --no-figures
    multirate plot "$run" --optimum
    cp "$run/optimum.json" "results/mnist-linear/steps-$pair.json"
done
