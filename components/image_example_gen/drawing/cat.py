"""The cat: its build, its heads and its tail."""

import random
from dataclasses import dataclass

from components.image_example_gen.drawing.coat import Coat, Patch, blend, times
from components.image_example_gen.drawing.figure import (
    Colour,
    Figure,
    Fill,
    blob,
    curve,
    ellipse,
    lens,
    limb,
    mirrored,
    petal,
)

_IRISES: list[Colour] = [(196, 186, 60), (150, 186, 84), (214, 150, 48), (120, 178, 150), (104, 170, 214)]
_PINK: Colour = (216, 148, 140)
_DARK: Colour = (34, 28, 28)


@dataclass(frozen=True)
class Cat:
    """One cat's looks; lengths in units of the radius of the head."""

    coat: Coat
    cheeks: float
    ears: float
    splay: float
    iris: Colour
    pupil: float
    nose: Colour
    asleep: bool
    tail: float

    length: float
    depth: float
    leg: float
    limb: float
    neck: float

    @classmethod
    def sample(cls, coat: Coat, rng: random.Random) -> "Cat":
        """One cat of all that wear this coat."""
        stout = rng.random()
        return cls(
            coat=coat,
            cheeks=rng.uniform(0.97, 1.08) + 0.07 * stout,
            ears=rng.uniform(0.92, 1.2) - 0.12 * stout,
            splay=rng.uniform(-0.02, 0.14),
            iris=rng.choice(_IRISES),
            pupil=rng.uniform(0.05, 0.15),
            nose=rng.choice([_PINK, _PINK, (176, 104, 96), (86, 64, 62)]),
            asleep=rng.random() < 0.07,
            tail=rng.uniform(0.17, 0.24) + 1.1 * coat.fuzz,
            length=rng.uniform(2.7, 3.2),
            depth=rng.uniform(1.35, 1.6) + 0.3 * stout,
            leg=rng.uniform(1.25, 1.6) - 0.2 * stout,
            limb=rng.uniform(0.22, 0.26) + 0.05 * stout,
            neck=rng.uniform(0.35, 0.5),
        )

    def _face_marks(self) -> list[Patch]:
        coat = self.coat
        if coat.pattern == "striped":
            dark = times(coat.second, 0.95)
            crown = [
                petal(complex(x - 0.09, -1), complex(0.5 * x, -0.36), complex(x + 0.09, -1), 0.05)
                for x in (-0.42, -0.14, 0.14, 0.42)
            ]
            cheek = [
                petal(
                    complex(s * 1.1, y - 0.07), complex(s * 0.62, y - 0.02), complex(s * 1.1, y + 0.08), 0.05
                )
                for s in (-1, 1)
                for y in (0.08, 0.34)
            ]
            return [Patch(dark, outline, 0.03) for outline in crown + cheek]
        if coat.pattern == "masked":
            return [Patch(coat.second, ellipse(0.22j, 0.72, 0.62), 0.28)]
        if coat.pattern == "bicolour":
            blaze = mirrored(-0.5j, 0.1 - 0.2j, 0.34 + 0.1j, 0.8 + 0.45j, 0.5 + 1j, 1.1j)
            return [Patch(coat.pale, blaze, 0.05)]
        if coat.pattern in ("patched", "spotted"):
            one = blob(0.1 - 1j, 0.25 - 0.3j, 0.4 + 0.2j, 1.2 + 0.1j, 1.1 - 1j)
            other = blob(-0.25 - 1j, -0.45 - 0.45j, -1.2 - 0.1j, -1.1 - 1j)
            return [Patch(coat.second, one, 0.05), Patch(times(coat.second, 1.1), other, 0.05)]
        return []

    def front_head(self, rng: random.Random, turn: float, nod: float) -> Figure:
        """The head seen from the front; `turn` and `nod` (-1 to 1) shift the features as it looks around."""
        figure, coat, wide = Figure(), self.coat, self.cheeks
        inner = blend(_PINK, coat.base, 0.4)
        for s in (-1, 1):
            x = -0.12 * turn
            tip = complex(s * (0.78 + self.splay) * wide + x, -0.42 - 1.02 * self.ears)
            outer, near = complex(s * 0.98 * wide + x, -0.12), complex(s * 0.12 + x, -0.72)
            figure.part(petal(outer, tip, near, 0.1), coat.ear(), -1j + 0.3 * s)
            figure.part(
                petal(outer + 0.1j, tip + 0.1j, near + 0.1j, 0.08, 0.68),
                Fill(inner, (), 0.04, 0.1, 0.7),
                -1j + 0.3 * s,
            )
        skull = mirrored(
            -0.84j,
            0.46 - 0.8j,
            0.84 * wide - 0.42j,
            1.03 * wide + 0.1j,
            0.84 * wide + 0.5j,
            0.4 + 0.8j,
            0.88j,
        )
        figure.part(skull, coat.face(*self._face_marks()), 0.35 + 1j)

        def at(x: float, y: float, depth: float) -> complex:
            return complex(x + turn * depth, y + nod * depth)

        muzzle = coat.muzzle()
        figure.part(ellipse(at(0, 0.64, 0.26), 0.3, 0.2), muzzle)
        for s in (-1, 1):
            figure.part(ellipse(at(0.2 * s, 0.45, 0.34), 0.29, 0.22, 0.3 * s), muzzle)
        for s in (-1, 1):
            self._eye(figure, at(0.43 * s, -0.1, 0.2), s)
        figure.line(curve(at(0, 0.32, 0.38), at(0, 0.46, 0.38)), times(self.nose, 0.45), 0.035)
        for s in (-1, 1):
            smile = curve(at(0, 0.46, 0.38), at(0.13 * s, 0.55, 0.36), at(0.29 * s, 0.49, 0.32))
            figure.line(smile, blend(_DARK, coat.base, 0.2), 0.04)
        nose = [
            at(-0.15, 0.2, 0.4),
            at(0, 0.17, 0.4),
            at(0.15, 0.2, 0.4),
            at(0.03, 0.35, 0.4),
            at(-0.03, 0.35, 0.4),
        ]
        figure.flat(blob(*nose), self.nose)
        figure.flat(ellipse(at(-0.03, 0.22, 0.4), 0.06, 0.02), blend(self.nose, (255, 255, 255), 0.5))
        self._whiskers(figure, at(0, 0.45, 0.36), (-1, 1))
        return figure

    def _eye(self, figure: Figure, centre: complex, s: int) -> None:
        inner, outer = centre + complex(-0.25 * s, 0.07), centre + complex(0.26 * s, -0.07)
        left, right = (inner, outer) if s > 0 else (outer, inner)
        rim = blend(_DARK, self.coat.base, 0.12)
        if self.asleep:
            figure.line(lens(left, right, 0, 0.14)[8:], rim, 0.06)
            return
        grow = 1.22
        figure.flat(lens(centre + (left - centre) * grow, centre + (right - centre) * grow, 0.26, 0.22), rim)
        figure.flat(lens(left, right, 0.21, 0.17), self.iris)
        figure.flat(lens(left * 0.8 + right * 0.2, right * 0.8 + left * 0.2, 0, 0.11), times(self.iris, 1.2))
        figure.flat(ellipse(centre, self.pupil, 0.18), (14, 12, 14))
        figure.flat(ellipse(centre + (-0.07 - 0.08j), 0.05, 0.05), (255, 255, 255))

    def _whiskers(self, figure: Figure, root: complex, sides: tuple[int, ...]) -> None:
        light: Colour = (250, 250, 248) if sum(self.coat.base) < 600 else (150, 144, 140)
        for s in sides:
            for rise, droop in ((-0.2, -0.1), (-0.02, 0.06), (0.14, 0.24)):
                start = root + complex(0.26 * s, rise * 0.35)
                hair = curve(start, start + complex(0.5 * s, rise), start + complex(1.05 * s, rise + droop))
                figure.line(hair, light, 0.022, 0.8)

    def side_head(self, rng: random.Random) -> Figure:
        """The head in profile, looking to the right."""
        figure, coat = Figure(), self.coat
        ear = petal(0.08 - 0.62j, 0.22 - 0.5j - 0.98j * self.ears, 0.55 - 0.55j, 0.08)
        figure.part(ear, coat.ear(), -1j)
        skull = blob(
            -0.86 + 0.05j, -0.62 - 0.55j, -0.1 - 0.84j, 0.42 - 0.7j, 0.7 - 0.36j, 0.82 - 0.06j, 1.03 + 0.06j,
            1.0 + 0.36j, 0.86 + 0.56j, 0.56 + 0.68j, 0.1 + 0.8j, -0.55 + 0.66j,
        )  # fmt: skip
        muzzle = blob(0.4 + 0.1j, 0.8 - 0.3j, 1.2 + 0.1j, 1 + 0.9j, 0.3 + 0.9j)
        marks = [Patch(coat.muzzle().colour, muzzle, 0.1)]
        if coat.pattern == "striped":
            for y in (-0.35, 0.0, 0.33):
                stripe = petal(complex(-0.75, y), complex(0.3, y - 0.06), complex(-0.75, y + 0.17), 0.06)
                marks.append(Patch(coat.second, stripe, 0.03))
        elif coat.pattern in ("patched", "spotted"):
            cap = blob(-1 + 0.3j, -0.9 - 0.9j, 0.4 - 0.9j, 0.3 + 0j)
            marks.append(Patch(coat.second, cap, 0.05))
        figure.part(skull, coat.face(*marks), -1 + 0.4j)
        near = petal(-0.5 - 0.5j, -0.3 - 0.5j - 1.0j * self.ears, 0.26 - 0.62j, 0.1)
        figure.part(near, coat.ear(), -1j)
        figure.part(
            petal(-0.25 - 0.55j, -0.2 - 0.5j - 0.75j * self.ears, 0.2 - 0.6j, 0.05),
            Fill(blend(_PINK, coat.base, 0.4), (), 0.04, 0.1, 0.7),
            -1j,
        )
        rim = blend(_DARK, coat.base, 0.12)
        figure.flat(petal(0.3 - 0.12j, 0.66 - 0.34j, 0.65 + 0.02j, 0.12), rim)
        figure.flat(petal(0.37 - 0.12j, 0.64 - 0.28j, 0.62 - 0.02j, 0.12), self.iris)
        figure.flat(ellipse(0.575 - 0.14j, 0.04, 0.1), (14, 12, 14))
        figure.flat(ellipse(0.52 - 0.18j, 0.025, 0.025), (255, 255, 255))
        figure.flat(blob(0.84 + 0.04j, 1.03 + 0.03j, 1.05 + 0.15j, 0.92 + 0.22j), self.nose)
        figure.line(curve(0.98 + 0.2j, 0.93 + 0.34j, 0.8 + 0.4j, 0.64 + 0.36j), rim, 0.045)
        self._whiskers(figure, 0.52 + 0.3j, (1,))
        return figure

    def add_tail(self, figure: Figure, root: complex, rng: random.Random, lying: bool) -> None:
        """A long tail of even thickness: raised with a hooked tip, or curled along the ground."""
        t, side = self.tail, -1
        if lying:
            knots = [
                root,
                root + complex(side * 0.7, 0.1),
                complex(root.real + side * 0.9, -0.15),
                complex(root.real - side * 0.2, 0.02),
                complex(root.real - side * 1.1, 0.0),
            ]
        else:
            hook = rng.choice((-1, 1)) * 0.55
            rise = rng.uniform(1.5, 2.3)
            knots = [
                root,
                root + complex(side * 0.55, -0.25),
                root + complex(side * 0.85, -0.55 * rise),
                root + complex(side * 0.8 + 0.3 * hook, -rise),
                root + complex(side * 0.8 + hook, -rise - 0.15),
            ]
        fill = self.coat.tail(root, knots[-1] if lying else knots[3], shaggy=1.3)
        figure.part(limb(knots, (t, t, t, t * 0.95, t * 0.7)), fill, knots[2] - knots[1])
