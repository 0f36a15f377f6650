#!/bin/sh
# Installs streamcanary for an image: `build.sh SOURCE TARGET`, with the repository and a folder that does not exist yet.
#
# TARGET is a virtual environment with the dependencies of requirements.lock, each checked against its hash, and the
# package. It has no pip, its files are compiled (`compiled/`), and nobody may write to it. It has to stay at its path. Building
# needs Python with venv, a package index, and no compiler: every dependency has wheels. SOURCE is not written to.
set -eu

SOURCE=$(realpath -- "$1")
TARGET=$(realpath -- "$2")
[ ! -e "$TARGET" ] || { echo "build.sh: $TARGET exists already; name a new folder" >&2; exit 2; }

# The caller chooses the package index, but not what is installed where.
unset PIP_TARGET PIP_PREFIX PIP_ROOT PIP_USER PIP_CONSTRAINT PIP_REQUIREMENT PIP_NO_DEPS PIP_PYTHON PYTHONPATH PYTHONHOME
export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_QUIET=1 PIP_ROOT_USER_ACTION=ignore PYTHONDONTWRITEBYTECODE=1

work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

python3 -m venv "$work/build"
build="$work/build/bin/python"
"$build" -m pip install --require-hashes -r "$SOURCE/requirements-build.lock"
cd "$SOURCE"
"$build" -m hatchling build --target wheel --directory "$work/wheel" >"$work/log" 2>&1 || { cat "$work/log" >&2; exit 1; }

python3 -m venv --without-pip "$TARGET"
"$build" -m pip --python "$TARGET/bin/python" install --no-compile --only-binary :all: --require-hashes \
    -r "$SOURCE/requirements.lock"
"$build" -m pip --python "$TARGET/bin/python" install --no-compile --no-index --no-deps "$work/wheel/"*.whl

# Compiled files of the package, the dependencies and the standard library, whose own the base image leaves out. They are
# without docstrings, asserts and columns of the source, which take 6 MB of memory, and are not checked against their
# sources, which cannot change. PYTHONPYCACHEPREFIX and PYTHONOPTIMIZE of the Dockerfile make Python use them.
library=$("$TARGET/bin/python" -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')
PYTHONPYCACHEPREFIX="$TARGET/compiled" "$TARGET/bin/python" -OO -X no_debug_ranges -m compileall -qq -j 0 \
    --invalidation-mode unchecked-hash -x "^$library/(site-packages|test|idlelib|lib2to3|ensurepip)/|/tests?/bad" \
    "$library" "$TARGET/lib"
chmod -R a=rX "$TARGET"
