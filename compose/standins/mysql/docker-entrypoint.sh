#!/bin/bash
# Starts MariaDB as the mysql image starts MySQL: MYSQL_ROOT_PASSWORD, MYSQL_ROOT_HOST, MYSQL_DATABASE, MYSQL_USER and
# MYSQL_PASSWORD say what there is, each also as a file by NAME_FILE. Here each start sees to that, not only the first.
set -euo pipefail
umask 077

data=/var/lib/mysql/data
first=/run/mysqld/first.sql

value() {
  local file=${1}_FILE
  if [ -n "${!file:-}" ]; then cat "${!file}"; else echo "${!1:-$2}"; fi
}

quoted() {
  local text=${1//\\/\\\\}
  echo "'${text//\'/\'\'}'"
}

# A line each, as the server wants it.
accounts() {
  local root host database user
  root=$(quoted "$(value MYSQL_ROOT_PASSWORD '')")
  host=$(quoted "$(value MYSQL_ROOT_HOST %)")
  database=$(value MYSQL_DATABASE '')
  user="$(quoted "$(value MYSQL_USER '')")@'%'"
  echo "ALTER USER root@localhost IDENTIFIED BY $root;"
  if [ "$host" != "'localhost'" ]; then
    echo "CREATE USER IF NOT EXISTS root@$host;"
    echo "ALTER USER root@$host IDENTIFIED BY $root;"
    echo "GRANT ALL PRIVILEGES ON *.* TO root@$host WITH GRANT OPTION;"
  fi
  [ -z "$database" ] || echo "CREATE DATABASE IF NOT EXISTS \`$database\`;"
  if [ "$user" != "''@'%'" ]; then
    echo "CREATE USER IF NOT EXISTS $user;"
    echo "ALTER USER $user IDENTIFIED BY $(quoted "$(value MYSQL_PASSWORD '')");"
    # In a GRANT an underscore would stand for any character.
    [ -z "$database" ] || echo "GRANT ALL PRIVILEGES ON \`${database//_/\\_}\`.* TO $user;"
  fi
}

if [ "$1" = mysqld ]; then
  # In one step, so that half of it is never taken for data.
  if [ ! -d "$data" ]; then
    rm -rf "$data.new"
    mariadb-install-db --datadir="$data.new" --auth-root-authentication-method=normal --skip-test-db >&2
    mv "$data.new" "$data"
  fi
  accounts >"$first"
  # A health check that is refused is no news.
  set -- "$@" --log-warnings=1 --datadir="$data" --init-file="$first"
fi
exec "$@"
