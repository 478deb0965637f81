#!/bin/sh
# As in the public image: the server does not run as root, and owns its directory.
set -eu
if [ "$(id -u)" = 0 ] && [ "${1#rabbitmq}" != "$1" ]; then
  find /var/lib/rabbitmq \! -user rabbitmq -exec chown rabbitmq '{}' +
  exec setpriv --reuid rabbitmq --regid rabbitmq --init-groups "$0" "$@"
fi
exec "$@"
