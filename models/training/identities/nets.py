"""The public nets that measure portraits: face detector, 468-point mesh, person mask, recognisers.

They run on one thread, for recipes only: nothing here is imported by the package.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

ARCFACE_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)
OMZ_128 = 128 * np.array(
    [[0.31557, 0.46157], [0.68262, 0.46157], [0.50026, 0.64051], [0.34947, 0.82470], [0.65343, 0.82470]], np.float32
)


def session(path: Path) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


class Detector:
    """YuNet on a whole picture: boxes and five points of faces above a score."""

    def __init__(self, models: Path):
        self.session = session(models / "yunet_n_dynamic.onnx")

    def __call__(self, bgr: np.ndarray, score: float = 0.5) -> np.ndarray:
        """uint8 (h, w, 3) → float32 (n, 15): x, y, width, height, five points, score; best first."""
        h, w = bgr.shape[:2]
        padded = np.zeros((-(-h // 32) * 32, -(-w // 32) * 32, 3), np.float32)
        padded[:h, :w] = bgr
        out = self.session.run(None, {"input": padded.transpose(2, 0, 1)[None]})
        rows = []
        for i, stride in enumerate((8, 16, 32)):
            cls, obj, box, kps = (out[j * 3 + i].reshape(-1, n) for j, n in enumerate((1, 1, 4, 10)))
            s = np.sqrt(np.clip(cls[:, 0], 0, 1) * np.clip(obj[:, 0], 0, 1))
            at = np.flatnonzero(s > score)
            grid = np.stack([at % (padded.shape[1] // stride), at // (padded.shape[1] // stride)], 1)
            centre, size = (grid + box[at, :2]) * stride, np.exp(box[at, 2:]) * stride
            points = (grid[:, None] + kps[at].reshape(-1, 5, 2)) * stride
            rows.append(np.concatenate([centre - size / 2, size, points.reshape(-1, 10), s[at, None]], 1))
        faces = np.concatenate(rows).astype(np.float32)
        keep = np.array(cv2.dnn.NMSBoxes(faces[:, :4].tolist(), faces[:, 14].tolist(), score, 0.4), int).ravel()
        return faces[keep[np.argsort(-faces[keep, 14])]] if len(keep) else faces[:0]


class Mesh:
    """MediaPipe's 468-point mesh, run twice so that the second crop is levelled by the first one's points."""

    def __init__(self, models: Path):
        self.session = session(models / "mp_face_landmark_468.onnx")

    def _once(self, rgb: np.ndarray, centre: np.ndarray, side: float, angle: float) -> tuple[np.ndarray, float]:
        turn = side / 192 * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        to_picture = np.concatenate([turn, (centre - turn @ [96, 96])[:, None]], 1).astype(np.float32)
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        crop = cv2.warpAffine(rgb, to_picture, (192, 192), flags=flags, borderMode=cv2.BORDER_REPLICATE)
        mesh, presence = self.session.run(None, {"input": crop[None].astype(np.float32) / 255})
        points = mesh.reshape(468, 3)
        xy = points[:, :2] @ turn.T + to_picture[:, 2]
        z = points[:, 2:] * side / 192
        return np.concatenate([xy, z], 1).astype(np.float32), float(1 / (1 + np.exp(-presence.ravel()[0])))

    def __call__(self, bgr: np.ndarray, face: np.ndarray) -> tuple[np.ndarray, float]:
        """A picture and a row of ``Detector`` → float32 (468, 3) pixels (z away from the camera) and presence 0–1."""
        rgb = cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB)
        eyes = face[4:8].reshape(2, 2)
        centre, side = face[:2] + face[2:4] / 2, 1.5 * float(face[2:4].max())
        points, presence = np.zeros((468, 3), np.float32), 0.0
        for _ in range(2):
            angle = float(np.arctan2(*(eyes[1] - eyes[0])[::-1]))
            points, presence = self._once(rgb, centre, side, angle)
            low, high = points[:, :2].min(0), points[:, :2].max(0)
            centre, side = (low + high) / 2, 1.5 * float((high - low).max())
            eyes = np.stack([points[[33, 133], :2].mean(0), points[[362, 263], :2].mean(0)])
        return points, presence


class Recogniser:
    """A face recogniser that takes an aligned BGR crop, 0–255."""

    def __init__(self, path: Path, template: np.ndarray, side: int):
        self.session, self.template, self.side = session(path), template, side

    def __call__(self, bgr: np.ndarray, points: np.ndarray) -> np.ndarray:
        """A picture and five points (5, 2) → float32 unit vector."""
        matrix, _ = cv2.estimateAffinePartial2D(points.astype(np.float32), self.template, method=cv2.LMEDS)
        crop = cv2.warpAffine(bgr, matrix, (self.side, self.side)).astype(np.float32)
        name = self.session.get_inputs()[0].name
        vector = self.session.run(None, {name: np.ascontiguousarray(crop.transpose(2, 0, 1)[None])})[0].ravel()
        return vector / np.linalg.norm(vector)


def recognisers(shared: Path) -> dict[str, Recogniser]:
    """omz may guide; y1 only scores (non-commercial, and never optimised against)."""
    return {
        "omz": Recogniser(shared / "models/omz_face-reidentification-retail-0095.onnx", OMZ_128, 128),
        "y1": Recogniser(shared / "attackers/insightface_y1_mobilefacenet.onnx", ARCFACE_112, 112),
    }
