"""Breaks stages of the frame path on demand, in every Python that starts with this folder in PYTHONPATH.

The file that the variable SABOTAGE names says what is broken now: ``detector raises``, ``detector late``, ``landmarks
raise``, ``swapper raises`` or ``painting off``, which is the control: a proxy that covers nothing.
"""

import importlib.util
import os
import sys
import time
from importlib.abc import MetaPathFinder

STAGES = {
    "anonymizer.faces.detectors": ("OnnxDetector", "detect", "detector"),
    "anonymizer.faces.landmarks": ("Landmarker", "at", "landmarks"),
    "anonymizer.synthesis.embedded": ("EmbeddedSwapper", "draw", "swapper"),
    "anonymizer.pipeline": ("Pipeline", "_decide_and_paint", "painting"),
}


def _fault():
    try:
        with open(os.environ["SABOTAGE"]) as file:
            return file.read()
    except OSError:
        return ""


def _broken(method, stage):
    def call(*given, **named):
        fault = _fault()
        if fault in (f"{stage} raises", f"{stage} raise"):
            raise RuntimeError(fault)
        if fault == f"{stage} late":
            time.sleep(0.4)
        if fault == f"{stage} off":
            return None
        return method(*given, **named)

    return call


class Saboteur(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name not in STAGES:
            return None
        sys.meta_path.remove(self)
        try:
            spec = importlib.util.find_spec(name)
        finally:
            sys.meta_path.insert(0, self)
        run = spec.loader.exec_module

        def exec_module(module):
            run(module)
            kind, method, stage = STAGES[name]
            setattr(getattr(module, kind), method, _broken(getattr(getattr(module, kind), method), stage))

        spec.loader.exec_module = exec_module
        return spec


if "SABOTAGE" in os.environ:
    sys.meta_path.insert(0, Saboteur())
