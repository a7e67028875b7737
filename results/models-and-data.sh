#!/usr/bin/env bash
# One multi-rate run of each model and data set of the paper, at a budget for two CPU cores, and its curve and figures.
#
#   results/models-and-data.sh            every run, one after the other (about two and a half hours of one core)
#   results/models-and-data.sh NAME ...   these runs
#
# A run that was stopped goes on. MULTIRATE_DATA may name a folder with the original files; what is missing there is
# downloaded, but for the two subsets of colour images, which are zip files of JPEGs: CIFAR10_ZIP, CELEBA_ZIP name them.
set -euo pipefail
cd "$(dirname "$0")/.."
data=${MULTIRATE_DATA:-data}
cifar=${CIFAR10_ZIP:-$data/cifar10/cifar10_jpeg_subset.zip}
celeba=${CELEBA_ZIP:-$data/celeba/celeba_8k_89x109_jpeg.zip}

# one NAME "options of train" "options of evaluate"
one() {
    local name=$1 run=runs/$1
    # shellcheck disable=SC2086
    multirate train $2 --seed 0 --out "$run" --resume
    # shellcheck disable=SC2086
    multirate evaluate "$run" --betas 10 $3
    mkdir -p "results/$name"
    cp "$run/curve.json" "results/$name/"
    cp "$run"/figures/*.png "results/$name/"
    rm -f "results/$name/training.png"
    if [ -f "$run/sentences.json" ]; then cp "$run/sentences.json" "results/$name/"; fi
}

celeba_options="--data $celeba --data-options crop=74 size=64 --latents 64 --channels-last"
nvae_options="--model nvae --optimizer adamax --channels-last"

declare -A runs=(
    [mnist-convnet]="one mnist-convnet '--data mnist --model convnet --examples 12800 --epochs 2 --channels-last' '--examples 2000 --recalibrate'"
    [omniglot-convnet]="one omniglot-convnet '--data omniglot --model convnet --examples 12800 --epochs 2 --channels-last' '--examples 2000 --recalibrate'"
    [cifar10-resnet]="one cifar10-resnet '--data $cifar --model resnet --latents 256 --epochs 10 --channels-last' '--examples 2000'"
    [cifar10-convnet]="one cifar10-convnet '--data $cifar --model convnet --latents 256 --epochs 2 --channels-last' '--examples 1000 --recalibrate'"
    [celeba-resnet]="one celeba-resnet '$celeba_options --model resnet --epochs 8' ''"
    [celeba-convnet]="one celeba-convnet '$celeba_options --model convnet --epochs 1' '--examples 400 --recalibrate'"
    [mnist-nvae]="one mnist-nvae '--data mnist $nvae_options --epochs 2' '--examples 2000 --recalibrate'"
    [omniglot-nvae]="one omniglot-nvae '--data omniglot $nvae_options --epochs 5' '--examples 2000 --recalibrate'"
    [ptb-lstm]="one ptb-lstm '--data ptb --model lstm --batch-size 32 --epochs 3' ''"
    [yahoo-lstm]="one yahoo-lstm '--data yahoo --model lstm --batch-size 32 --epochs 3' '--examples 2000'"
    [dsprites-tcvae]="one dsprites-tcvae '--data dsprites --data-options subset=102400 --model mlp --hidden 1200 1200 --latents 10 --model-options decoder_activation=tanh --objective beta-tcvae --beta-low 0.1 --beta-high 10 --batch-size 512 --epochs 6' '--examples 5000 --measures active_units decomposition'"
)
for name in "${@:-${!runs[@]}}"; do
    eval "${runs[$name]:?no run of that name}"
done
