#!/usr/bin/env bash
# Installs what the programs in other languages need, on Debian and its like: Go, Boost, Python with greenlet and gevent; and
# git, for the commit's name in the tables, and valgrind, for benches/instructions. The plots need nothing.
# Needs the right to install packages. `run` builds what is there and leaves out what is not.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
apt-get update
apt-get install -y --no-install-recommends git valgrind golang-go g++ libboost-context-dev libboost-fiber-dev python3 python3-venv
mkdir -p target/peers
python3 -m venv target/peers/python
target/peers/python/bin/pip install --quiet --requirement benches/peers/python/requirements.txt
