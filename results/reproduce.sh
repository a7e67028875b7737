#!/usr/bin/env bash
# The paper's figures and tables at the scale of two CPU cores: about three hours of one core for all nine; it goes on where it stopped.
#
#   results/reproduce.sh                every recipe
#   results/reproduce.sh fig5 ...       these
#
# MULTIRATE_DATA names a folder with mnist/, omniglot/ and celeba/; the first two are otherwise downloaded. Extra: frechet.
set -euo pipefail
cd "$(dirname "$0")/.."
all=(table1 fig5 table2 fig1 fig4 fig6 fig7 fig8 fig9)
for name in "${@:-${all[@]}}"; do
    multirate reproduce "$name" --scale cpu
    rm -rf "results/reproduce/$name"
    mkdir -p "results/reproduce/$name"
    cp runs/reproduce/"$name"/cpu/{figure.png,numbers.json,claims.json} "results/reproduce/$name/"
    if [ -d runs/reproduce/"$name"/cpu/curves ]; then cp -r runs/reproduce/"$name"/cpu/curves "results/reproduce/$name/"; fi
done
