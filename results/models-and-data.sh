#!/usr/bin/env bash
# One multi-rate run of each model and data set of the paper, at a budget for two CPU cores: its curve and figures.
#
#   results/models-and-data.sh            every run, one after the other: some hours of one core
#   results/models-and-data.sh NAME ...   these runs
#
# A run that was stopped goes on. MULTIRATE_DATA names a folder with the original files; named sets that are missing there are
# downloaded. The colour images are subsets, zip files of JPEGs in its cifar10/ and celeba/: see docs/results.md.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${MULTIRATE_DATA:-data}
cifar10=(--data "$data/cifar10/cifar10_jpeg_subset.zip")
celeba=(--data "$data/celeba/celeba_8k_89x109_jpeg.zip" --data-options crop=74 size=64 --latents 64)
nvae=(--model nvae --optimizer adamax --learning-rate 0.01)
lstm=(--model lstm --batch-size 32 --learning-rate 0.001 --clip-norm 5)
tcvae=(--model mlp --hidden 1200 1200 --latents 10 --model-options decoder_activation=tanh --objective beta-tcvae)

train() { multirate train "$@" --seed 0 --out "runs/$name" --resume; }
evaluate() { multirate evaluate "runs/$name" --betas 10 "$@"; }

one() {
    name=$1
    case $name in
    mnist-resnet)
        train --data mnist --model resnet --epochs 8
        evaluate ;;
    mnist-convnet)
        train --data mnist --model convnet --examples 9600 --batch-size 64 --epochs 1
        evaluate --examples 1000 ;;
    omniglot-convnet)
        train --data omniglot --model convnet --examples 9600 --batch-size 64 --epochs 1
        evaluate --examples 1000 ;;
    cifar10-resnet)
        train "${cifar10[@]}" --model resnet --latents 256 --epochs 8
        evaluate ;;
    cifar10-convnet)
        train "${cifar10[@]}" --model convnet --latents 256 --batch-size 64 --examples 7680 --epochs 2 --learning-rate 0.001
        evaluate --examples 500 ;;
    celeba-resnet)
        train "${celeba[@]}" --model resnet --epochs 5
        evaluate ;;
    celeba-convnet)
        train "${celeba[@]}" --model convnet --batch-size 32 --epochs 1 --learning-rate 0.001
        evaluate --examples 200 ;;
    mnist-nvae)
        train --data mnist "${nvae[@]}" --spectral-regularization 0.01 --epochs 2
        evaluate --examples 2000 --recalibrate --no-figures
        mkdir -p "results/$name"
        cp "runs/$name/curve.json" "results/$name/recalibrated.json"
        evaluate --examples 2000 ;;
    omniglot-nvae)
        train --data omniglot "${nvae[@]}" --spectral-regularization 0.01 --epochs 5
        evaluate --examples 2000 ;;
    cifar10-nvae)
        train "${cifar10[@]}" "${nvae[@]}" --likelihood discretized_logistic --batch-size 64 --epochs 2
        evaluate --examples 500 ;;
    ptb-lstm)
        train --data ptb "${lstm[@]}" --epochs 2
        evaluate ;;
    yahoo-lstm)
        train --data yahoo "${lstm[@]}" --examples 6400 --epochs 1
        evaluate --examples 1000 ;;
    dsprites-tcvae)
        train --data dsprites --examples 102400 "${tcvae[@]}" --beta-low 0.1 --beta-high 10 \
            --batch-size 512 --epochs 6
        evaluate --measures active_units decomposition ;;
    *)
        echo "no run $name" >&2
        exit 2 ;;
    esac
    multirate report "runs/$name"
    mkdir -p "results/$name"
    cp "runs/$name/curve.json" "runs/$name"/figures/*.png "results/$name/"
    rm -f "results/$name/training.png"
    if [ -f "runs/$name/sentences.json" ]; then cp "runs/$name/sentences.json" "results/$name/"; fi
}

all=(mnist-resnet mnist-convnet omniglot-convnet cifar10-resnet cifar10-convnet celeba-resnet celeba-convnet
    mnist-nvae omniglot-nvae cifar10-nvae ptb-lstm yahoo-lstm dsprites-tcvae)
for name in "${@:-${all[@]}}"; do one "$name"; done
