#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# Every hook verb for a pretend device, in one file: link it under each verb's name (README.md).
set -eu
cd "$XPU_AGENT_STATE_DIR" && mkdir -p example && cd example
request=$(cat)
# Enough for plain text members; use a JSON parser where the device has one.
member() { printf '%s' "$request" | sed -n 's/.*"'"$1"'": "\([^"]*\)".*/\1/p'; }
json() { value=$(member "$1"); [ -n "$value" ] && printf '"%s"' "$value" || printf null; }
put() { cat >"$1.new" && sync "$1.new" && mv "$1.new" "$1" && sync .; }
have() { [ -e "$1" ] && printf true || printf false; }

case ${0##*/} in
facts)
  image=$(cat running 2>/dev/null || printf '"os-name": "factory", "os-version": "1"')
  printf '{"hw-model": "example", "on-trial": %s, %s}\n' "$(have trial)" "$image" ;;
image-write) rm -f pending && sync . && cat <&3 >image.part && printf '{"target": "image"}\n' ;;
image-commit)
  [ ! -e image.part ] || { sync image.part && mv image.part image; }
  printf '%s  image\n' "$(member sha-256)" | sha256sum -c - >&2
  printf '"os-name": %s, "os-version": %s, "image-sha256": %s' \
    "$(json os-name)" "$(json os-version)" "$(json sha-256)" | put pending ;;
image-abort) rm -f image.part pending ;;
configuration-apply) # The token tells this attempt's backup from what an earlier one left.
  backup=backup.$(member token)
  [ -e "$backup" ] || {
    rm -rf backup.* && mkdir backup.new && { [ ! -e config ] || cp config backup.new/; }
    sync backup.new/* backup.new 2>/dev/null || :
    mv backup.new "$backup" && sync .; }
  { [ "$(member handling)" = replace ] || cat "$backup/config" 2>/dev/null || :; cat <&3; } | put config
  printf '{"checkpoint": "%s"}\n' "$backup" ;;
configuration-undo)
  backup=backup.$(member token)
  if [ -e "$backup/config" ]; then put config <"$backup/config"; elif [ -e "$backup" ]; then rm -f config; fi ;;
reboot) [ ! -e pending ] || { : >trial && mv pending running && sync .; } ;; # a real one reboots
mark-good) rm -f trial ;;
run-script) # A device that runs scripts elsewhere, in a container say, does it here.
  cat <&3 >script && chmod 700 script && status=0 && { ./script >&2 || status=$?; }
  rm -f script && printf '{"exit-status": %d}\n' "$status" ;;
wipe) rm -rf config backup.* && { [ "$(member level)" = weak ] || rm -rf image* pending trial; } ;;
reset-requested) printf '{"level": "none"}\n' ;;
notify) echo "state: $(member state)" >&2 ;;
*) exit 64 ;; # source: no channel of our own
esac
