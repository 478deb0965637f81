#!/bin/sh
# As in the public image: arguments alone go to redis-server, which does not run as root.
set -eu
case "${1-}" in
  -* | *.conf) set -- redis-server "$@" ;;
esac
if [ "${1-}" = redis-server ] && [ "$(id -u)" = 0 ]; then
  find . \! -user redis -exec chown redis '{}' +
  exec setpriv --reuid redis --regid redis --init-groups "$0" "$@"
fi
exec "$@"
