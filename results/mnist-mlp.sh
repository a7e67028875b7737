#!/usr/bin/env bash
# Which response to choose: three multi-rate MLPs and four dedicated beta-VAEs on static binary MNIST, 8 epochs each.
# About ten minutes of one CPU core.
set -euo pipefail
cd "$(dirname "$0")/.."
run=runs/mnist-mlp
options=(--data mnist --model mlp --epochs 8 --learning-rate 0.002 --seed 0)

multirate sweep --betas 0.01,0.1,1,10 "${options[@]}" --out "$run-dedicated"
mkdir -p results/mnist-mlp
cp "$run-dedicated/curve.json" results/mnist-mlp/dedicated.json
for response in paper sigmoid film; do
    multirate train "${options[@]}" --response "$response" --out "$run-$response" --resume
    multirate evaluate "$run-$response" --betas 0.01,0.1,1,10 --label "$response" --no-figures
    multirate compare "$run-$response" "$run-dedicated"
    cp "$run-$response/curve.json" "results/mnist-mlp/$response.json"
done
