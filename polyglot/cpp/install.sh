#!/bin/sh
# Installs what C and C++ programs need: install.sh FOLDER_WITH_THE_LIBRARY VERSION PREFIX. DESTDIR is
# put before the prefix; STRIP is a strip for the system of the library. Nothing that is installed contains the prefix, so the folder may be moved.
set -eu
library=$1 version=$2 root=${DESTDIR:-}$3
here=$(dirname "$0")
case $version in
  0.*) interface=${version%.*} ;;
  *) interface=${version%%.*} ;;
esac
mkdir -p "$root/include" "$root/lib/pkgconfig" "$root/lib/cmake/chatpb"
install -m 644 "$here"/include/chatpb.h* "$root/include"
install -m 644 "$library/libchatpb.a" "$root/lib"
"${STRIP:-strip}" -S "$root/lib/libchatpb.a"
if [ "$(uname -s)" = Darwin ]; then
  full=libchatpb.$version.dylib link=libchatpb.$interface.dylib name=libchatpb.dylib system="-framework CoreFoundation"
else
  full=libchatpb.so.$version link=libchatpb.so.$interface name=libchatpb.so system="-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc"
fi
install -m 755 "$library/$name" "$root/lib/$full"
"${STRIP:-strip}" -x "$root/lib/$full"
ln -sf "$full" "$root/lib/$link"
ln -sf "$link" "$root/lib/$name"
for template in "$here/chatpb.pc.in:pkgconfig" "$here/cmake/chatpb-config.cmake.in:cmake/chatpb" \
  "$here/cmake/chatpb-config-version.cmake.in:cmake/chatpb"; do
  name=$(basename "${template%:*}" .in)
  sed -e "s|@VERSION@|$version|" -e "s|@SYSTEM@|$system|" -e "s|@SHARED@|$full|" \
    "${template%:*}" >"$root/lib/${template##*:}/$name"
done
