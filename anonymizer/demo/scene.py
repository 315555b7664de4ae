"""A drawn street in which people who do not exist walk, turn, speak and blink."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from anonymizer.frame import U8
from anonymizer.synthesis.bank import Bank, Identity
from anonymizer.synthesis.preview import View, picture

WIDTH, HEIGHT, RATE = 1280, 720, 25
_HEAD = 200  # pixels of a drawn head
_STEPS = 30  # drawn heads in a cycle
_GROUND = (196, 192, 188)  # what ``preview`` draws around a head


@dataclass(frozen=True, slots=True)
class Walker:
    """heads: uint8 (steps, size, size, 3) BGR; alphas: uint8 (steps, size, size). size: pixels in the scene; speed:
    pixels a picture; y: of the head's upper edge."""

    heads: U8
    alphas: U8
    coat: tuple[int, int, int]
    size: int
    speed: float
    start: float
    y: int


class Scene:
    """``draw(index)`` gives picture after picture. people: how many walk."""

    def __init__(self, bank: Bank, people: int = 3) -> None:
        self._ground = _street()
        coats = ((96, 64, 40), (54, 58, 120), (70, 92, 60), (60, 60, 64), (120, 96, 70))
        self._walkers = [
            _walker(bank, bank.identity("demo", number), coats[number % len(coats)], number) for number in range(people)
        ]

    def draw(self, index: int) -> U8:
        """Picture number ``index``: uint8 (720, 1280, 3) BGR."""
        canvas = self._ground.copy()
        for walker in sorted(self._walkers, key=lambda w: w.size):
            way = WIDTH + 2 * walker.size
            x = round((walker.start + walker.speed * index) % way - walker.size)
            bob = round(0.015 * walker.size * math.sin(index / 3.1 + walker.start))
            _paste(canvas, walker, x, walker.y + bob, index)
        return canvas


def _street() -> U8:
    rng = np.random.default_rng(3)
    canvas = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    canvas[:430] = np.linspace((176, 160, 146), (150, 146, 140), 430)[:, None]
    canvas[430:] = np.linspace((104, 108, 112), (132, 136, 140), HEIGHT - 430)[:, None]
    picture = canvas.astype(np.uint8)
    for x in range(40, WIDTH, 200):
        cv2.rectangle(picture, (x, 80), (x + 110, 250), (92, 84, 76), -1)
        cv2.rectangle(picture, (x + 8, 88), (x + 102, 242), (150, 138, 120), -1)
        cv2.line(picture, (x + 55, 88), (x + 55, 242), (92, 84, 76), 4)
    cv2.rectangle(picture, (0, 424), (WIDTH, 436), (86, 86, 88), -1)
    grain = rng.normal(0, 4, (HEIGHT, WIDTH, 1))
    return np.clip(picture + grain, 0, 255).astype(np.uint8)


def _walker(bank: Bank, identity: Identity, coat: tuple[int, int, int], number: int) -> Walker:
    heads, alphas = [], []
    round_off = np.zeros((_HEAD, _HEAD), np.uint8)
    cv2.ellipse(round_off, (_HEAD // 2, _HEAD // 2), (_HEAD // 2, int(0.48 * _HEAD)), 0, 0, 360, 255, -1)
    for step in range(_STEPS):
        turn = 2 * math.pi * step / _STEPS
        view = View(
            yaw=24 * math.sin(turn + number),
            pitch=4 * math.sin(2 * turn),
            roll=4 * math.cos(turn),
            mouth=max(0.0, 0.3 * math.sin(3 * turn)) if number % 2 else 0.0,
            smile=0.5 * (number % 3 == 0),
            eyes=0.0 if step == (9 + 5 * number) % _STEPS else 1.0,
            gaze=0.1 * math.sin(turn),
        )
        drawn = picture(bank.model, identity, view, _HEAD)
        solid = (np.abs(drawn.astype(np.int16) - _GROUND).max(2) > 14).astype(np.uint8)
        solid = cv2.morphologyEx(solid, cv2.MORPH_CLOSE, np.ones((9, 9), np.uint8))
        solid = cv2.erode(solid, np.ones((5, 5), np.uint8)) * round_off
        solid[int(0.84 * _HEAD) :] = 0  # the drawn shoulders give way to a coat
        heads.append(drawn)
        alphas.append(cv2.GaussianBlur(solid, (0, 0), 1.2))
    size = (260, 190, 150, 120, 230)[number % 5]
    speed = (2.2, -1.7, 1.4, -1.1, -2.6)[number % 5]
    return Walker(np.stack(heads), np.stack(alphas), coat, size, speed, 260.0 * number + 100, 400 - size)


def _paste(canvas: U8, walker: Walker, x: int, y: int, index: int) -> None:
    size = walker.size
    middle = x + size // 2
    neck = y + int(0.80 * size)
    body = np.array(
        [(middle - 0.17 * size, neck), (middle + 0.17 * size, neck), (middle + 0.55 * size, neck + 0.28 * size),
         (middle + 0.62 * size, HEIGHT), (middle - 0.62 * size, HEIGHT), (middle - 0.55 * size, neck + 0.28 * size)],
        np.int32,
    )  # fmt: skip
    cv2.fillPoly(canvas, [body], walker.coat, cv2.LINE_AA)
    step = (index // 2) % _STEPS
    left, right = max(0, x), min(WIDTH, x + size)
    if right - left < 2:
        return
    head = cv2.resize(walker.heads[step], (size, size), interpolation=cv2.INTER_AREA)[:, left - x : right - x]
    alpha = cv2.resize(walker.alphas[step], (size, size), interpolation=cv2.INTER_AREA)[:, left - x : right - x, None]
    region = canvas[y : y + size, left:right]
    region[:] = (region + alpha.astype(np.float32) / 255 * (head.astype(np.float32) - region)).astype(np.uint8)
