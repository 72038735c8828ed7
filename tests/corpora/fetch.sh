#!/bin/sh
# Fetch pinned packages whose test images `make corpora` tries, and the decoders it compares with.
# Usage: tests/corpora/fetch.sh FOLDER PYTHON. Debian's sources are left out where there's no apt.
set -eu
folder=$1 python=$2
mkdir -p "$folder/packages" "$folder/files"
cd "$folder"

"$python" -m pip install --quiet --no-deps --target decoders \
    imagecodecs==2026.3.6 tifffile==2026.3.3 pyvips==3.2.0 pyvips-binary==8.18.7 \
    cffi==2.1.1 pycparser==3.12
"$python" -m pip download --quiet --no-deps --no-binary pillow --dest packages pillow==13.0.0
if command -v npm > /dev/null; then
    (cd packages && npm pack --silent bmp-js@0.1.0)
fi
if command -v apt-get > /dev/null; then
    mkdir -p apt/lists/partial
    echo "deb-src http://deb.debian.org/debian bookworm main" > apt/sources.list
    apt="-o Dir::Etc::sourcelist=$PWD/apt/sources.list -o Dir::Etc::sourceparts=/dev/null"
    apt="$apt -o Dir::State::lists=$PWD/apt/lists"
    # shellcheck disable=SC2086
    apt-get --quiet=2 $apt update
    # shellcheck disable=SC2086
    (cd packages && apt-get --quiet=2 $apt source --download-only \
        tiff=4.5.0-6+deb12u4 libpng1.6=1.6.39-2+deb12u5 vips=8.14.1-3+deb12u3 \
        golang-golang-x-image=0.5.0-1)
fi
for archive in packages/*.tar.gz packages/*.orig.tar.* packages/*.tgz; do
    [ -e "$archive" ] || continue
    name=$(basename "$archive")
    mkdir -p "files/$name"
    tar --extract --file "$archive" --directory "files/$name"
done
touch fetched
