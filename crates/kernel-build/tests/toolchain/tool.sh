#!/bin/sh
# Stands for bisheng, ld.lld and cmake, by the name it is called by. Writes its arguments to `log` beside it, a line each, and
# an empty line behind them; fails where `fail-<name>` or `fail-probe` lies there; else takes images from files beside it.
here=$(dirname "$0")
name=$(basename "$0")
# A real CMake, whose package (ascendc.cmake) takes the images by a variable.
if [ "$name" = real-cmake ]; then IMAGES=$here exec cmake "$@"; fi
{
    for word in "$name" "$@"; do printf '%s\n' "$word"; done
    echo
} >>"$here/log"

if [ -e "$here/fail-$name" ]; then
    echo "$name: this goes to stdout"
    echo "$name: error: this release is broken" >&2
    exit 3
fi

output() {
    while [ $# -gt 1 ] && [ "$1" != -o ]; do shift; done
    echo "$2"
}

case $name in
bisheng)
    case " $* " in
    *" -fsyntax-only "*)
        if [ -e "$here/fail-probe" ]; then
            echo "bisheng: error: unknown language asc" >&2
            exit 1
        fi
        ;;
    *)
        out=$(output "$@")
        cp "$here/$(basename "$out")" "$out"
        ;;
    esac
    ;;
ld.lld)
    for word in "$@"; do
        case $word in *.o) object=$word ;; esac
    done
    cp "$object" "$(output "$@")"
    ;;
cmake)
    case $1 in
    -S)
        mkdir -p "$4"
        for word in "$@"; do
            case $word in -DCMAKE_INSTALL_PREFIX=*) echo "${word#*=}" >"$4/prefix" ;; esac
        done
        ;;
    --build)
        prefix=$(cat "$2/prefix")
        sed -n 's/^ascendc_fatbin_library(\([a-z_0-9]*\) .*/\1/p' "$2/../CMakeLists.txt" | while read -r target; do
            mkdir -p "$prefix/fatbin/$target"
            cp "$here/${target#fa_}.o" "$prefix/fatbin/$target/$target.o"
        done
        ;;
    esac
    ;;
esac
