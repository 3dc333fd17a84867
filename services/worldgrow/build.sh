#!/usr/bin/env bash
# Builds what WorldGrow has as source alone, with a CUDA compiler: its own forks of cumm and spconv,
# and the rasterizers of TRELLIS.   build.sh PYTHON UPSTREAM
set -euo pipefail
python=$1 upstream=$2
export CUMM_DISABLE_JIT=1 SPCONV_DISABLE_JIT=1
for part in cumm spconv; do
  "$python" -m pip install --no-build-isolation "$upstream/submodules/$part"
done
for part in nvdiffrast diffoctreerast mip-splatting/submodules/diff-gaussian-rasterization; do
  "$python" -m pip install --no-build-isolation "$upstream/extensions/$part"
done
