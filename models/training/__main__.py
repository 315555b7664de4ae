"""Every recipe on a tiny subset: ``make train-small``. Minutes; fails where a loss does not fall or an export is wrong.

Needs the shared portraits and photographs ($ANONYMIZER_SHARED, default ../shared) and PyTorch.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def main() -> int:
    shared = Path(os.environ.get("ANONYMIZER_SHARED", ROOT.parent / "shared")).resolve()
    if not (shared / "faces").is_dir():
        if os.environ.get("CI"):
            sys.exit(f"the shared portraits are not at {shared}")
        print(f"skipped: the shared portraits are not at {shared}; set ANONYMIZER_SHARED")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "face_model.npz"
        recipes = {
            "detector": [str(HERE / "detector" / "train.py"), "--tiny"],
            "landmarks": [str(HERE / "landmarks" / "train.py"), str(shared), str(Path(folder) / "run"), "--tiny"],
            "refiner": [str(HERE / "refiner" / "train.py"), str(shared), str(Path(folder) / "pairs"), "--tiny"],
            "identities": [str(HERE / "identities" / "build.py"), "--shared", str(shared), "--tiny", "--out", str(out)],
        }
        environment = {**os.environ, "ANONYMIZER_SHARED": str(shared), "PYTHONPATH": str(ROOT)}
        for name, command in recipes.items():
            start = time.monotonic()
            print(f"{name} …", flush=True)
            if subprocess.run([sys.executable, *command], cwd=ROOT, env=environment, check=False).returncode:
                print(f"{name}: the recipe failed")
                return 1
            print(f"{name}: good, {time.monotonic() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
