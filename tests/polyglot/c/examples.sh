#!/bin/sh
# Builds the examples as their first lines say and runs them: examples.sh PREFIX FOLDER. A stream that is
# folded, split and folded again is the same completion.
set -eu
here=$(dirname "$0")
examples=$here/../../../polyglot/cpp/examples
prefix=$1 folder=$2
export PKG_CONFIG_PATH="$prefix/lib/pkgconfig"
export LD_LIBRARY_PATH="$prefix/lib"
mkdir -p "$folder"
cc -Wall -Wextra -Werror "$examples/c/fold.c" -o "$folder/fold" $(pkg-config --cflags --libs chatpb)
if command -v cmake >/dev/null; then
  cmake -S "$examples/cmake" -B "$folder/cmake" -DCMAKE_PREFIX_PATH="$prefix" >/dev/null
  cmake --build "$folder/cmake" >/dev/null
  cp "$folder/cmake/split" "$folder/split"
else
  c++ -std=c++17 "$examples/cmake/main.cpp" -o "$folder/split" $(pkg-config --cflags --libs chatpb)
fi
"$folder/fold" <"$here/../../vectors/stream/sse_plain.sse" >"$folder/once.json"
"$folder/split" "$folder/once.json" | awk '{ print "data: " $0 "\n" }' >"$folder/again.sse"
"$folder/fold" <"$folder/again.sse" >"$folder/twice.json"
cmp "$folder/once.json" "$folder/twice.json"
for program in "$folder/fold" "$folder/split /dev/null"; do
  if $program </dev/null 2>"$folder/error"; then
    echo "$program accepts nothing" >&2
    exit 1
  fi
  test -s "$folder/error"
done
echo "the examples run"
