# Sourced by the other scripts: makes and activates the project's environment; seconds when that is already done.
# HF_VTG_VENV names another folder than .venv, HF_VTG_TORCH another version of torch than 2.13.0.

hf_vtg_root="$(cd -P "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
hf_vtg_venv="${HF_VTG_VENV:-$hf_vtg_root/.venv}"

if [ ! -x "$hf_vtg_venv/bin/python" ]; then
    python3 -m venv "$hf_vtg_venv" || return 1
fi
# shellcheck disable=SC1091
. "$hf_vtg_venv/bin/activate"

# The environment belongs to this checkout and to this pyproject.toml; either changed means install again.
hf_vtg_stamp="$(printf '%s\n' "$hf_vtg_root" | cat - "$hf_vtg_root/pyproject.toml" | sha256sum | cut -d' ' -f1)"
if [ "$(cat "$hf_vtg_venv/.hf_vtg_installed" 2>/dev/null)" != "$hf_vtg_stamp" ]; then
    echo "hf_vtg: installing into $hf_vtg_venv (first time: a few minutes)" >&2
    if ! python -c "import torch" 2>/dev/null; then
        # Named without a range: a range would take a build with gigabytes of CUDA where there is no GPU.
        python -m pip install --quiet "torch==${HF_VTG_TORCH:-2.13.0}" || return 1
    fi
    # In compat mode the checkout itself is on the path: beside a clone named hf_vtg its folder would else be found first.
    python -m pip install --quiet --editable "$hf_vtg_root[video,hdf5,demo,dev]" --config-settings editable_mode=compat || return 1
    echo "$hf_vtg_stamp" >"$hf_vtg_venv/.hf_vtg_installed"
fi
