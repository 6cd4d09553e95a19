"""The dog: its build, its heads and its tail."""

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
    limb,
    mirrored,
    petal,
)

_DARK: Colour = (30, 26, 26)
_TONGUE: Colour = (222, 112, 118)
_EYES: list[Colour] = [(74, 46, 28), (96, 60, 32), (58, 38, 30), (120, 84, 44)]


@dataclass(frozen=True)
class Dog:
    """One dog's looks; lengths in units of the radius of the head."""

    coat: Coat
    ears: str
    ear_length: float
    muzzle: float
    jowls: float
    skull: float
    eye: Colour
    panting: bool
    tail: str

    length: float
    depth: float
    leg: float
    limb: float
    neck: float

    @classmethod
    def sample(cls, coat: Coat, rng: random.Random) -> "Dog":
        """One dog of all that wear this coat."""
        kind = rng.choice(("shepherd", "retriever", "retriever", "hound", "terrier", "bulldog", "dachshund"))
        ears, ear_length, muzzle, jowls, leg, depth, length, tail = {
            "shepherd": ("pricked", 1.0, 1.0, 0.92, 1.9, 1.6, 3.1, "bushy"),
            "retriever": ("hanging", 0.9, 0.95, 1.05, 1.8, 1.7, 3.1, "plume"),
            "hound": ("hanging", 1.3, 1.05, 1.05, 1.6, 1.6, 3.0, "sabre"),
            "terrier": ("folded", 0.8, 0.85, 1.0, 1.4, 1.45, 2.5, "docked"),
            "bulldog": ("folded", 0.7, 0.5, 1.25, 1.1, 1.75, 2.6, "docked"),
            "dachshund": ("hanging", 1.15, 1.15, 0.92, 0.85, 1.3, 3.6, "sabre"),
        }[kind]
        return cls(
            coat=coat.brindled(),
            ears=ears,
            ear_length=ear_length * rng.uniform(0.9, 1.12),
            muzzle=muzzle * rng.uniform(0.92, 1.1),
            jowls=jowls * rng.uniform(0.95, 1.06),
            skull=rng.uniform(0.94, 1.06),
            eye=rng.choice(_EYES),
            panting=rng.random() < 0.5,
            tail=tail,
            length=length * rng.uniform(0.93, 1.07),
            depth=depth * rng.uniform(0.93, 1.07),
            leg=leg * rng.uniform(0.9, 1.1),
            limb=rng.uniform(0.29, 0.36),
            neck=rng.uniform(0.5, 0.75),
        )

    def _face_marks(self) -> list[Patch]:
        coat = self.coat
        if coat.pattern == "bicolour":
            blaze = mirrored(-1j, 0.16 - 0.7j, 0.12 - 0.25j, 0.3 + 0.1j, 0.6 + 0.5j, 0.5 + 1.1j, 1.2j)
            return [Patch(coat.pale, blaze, 0.05)]
        if coat.pattern in ("patched", "spotted"):
            side = blob(0.14 - 1j, 0.2 - 0.3j, 0.35 + 0.2j, 1.1 + 0.3j, 1.1 - 1j)
            return [Patch(times(coat.second, 1.08), side, 0.05), Patch(coat.second, -side.conj(), 0.05)]
        if coat.pattern == "saddled":
            cap = mirrored(-1j, 0.9 - 0.9j, 0.8 - 0.45j, 0.3 - 0.5j, -0.3j)
            return [Patch(coat.second, cap, 0.12)]
        if coat.pattern == "masked":
            return [Patch(coat.second, ellipse(0.2j, 0.66, 0.5), 0.2)]
        return []

    def front_head(self, rng: random.Random, turn: float, nod: float) -> Figure:
        """The head seen from the front; `turn` and `nod` (-1 to 1) shift the features as it looks around."""
        figure, coat, wide = Figure(), self.coat, self.skull
        back = -0.14 * turn
        if self.ears == "pricked":
            self._pricked_ears(figure, back)
        skull = mirrored(
            -0.88j, 0.46 * wide - 0.84j, 0.82 * wide - 0.46j, 0.86 * wide + 0.02j, 0.68 * wide + 0.5j,
            0.4 + 0.86j, 0.96j,
        )  # fmt: skip
        figure.part(skull, coat.face(*self._face_marks()), 0.3 + 1j)
        if self.ears != "pricked":
            self._hanging_ears(figure, back)

        def at(x: float, y: float, depth: float) -> complex:
            return complex(x + turn * depth, y + nod * depth)

        muzzle, w, drop = coat.muzzle(), 0.42 * self.jowls, 0.26 * self.muzzle
        lips = blend(_DARK, muzzle.colour, 0.15)
        if self.panting:
            figure.part(ellipse(at(0, 0.84 + drop, 0.42), 0.3, 0.26), muzzle)
            figure.flat(ellipse(at(0, 0.72 + drop, 0.45), 0.29, 0.24), (70, 30, 34))
            tongue = limb(
                (at(0, 0.68 + drop, 0.48), at(0.02, 0.92 + drop, 0.5), at(0.04, 1.12 + drop, 0.5)),
                (0.18, 0.2, 0.17),
            )
            figure.part(tongue, Fill(_TONGUE, (), 0, 0.03))
            figure.line(
                curve(at(0, 0.74 + drop, 0.48), at(0.03, 1.08 + drop, 0.5)), times(_TONGUE, 0.8), 0.03
            )
        else:
            figure.part(ellipse(at(0, 0.74 + drop, 0.42), 0.27, 0.2), muzzle)
        outline = [
            at(0, -0.02, 0.3),
            at(0.24, 0.06, 0.34),
            at(w, 0.4 + drop / 2, 0.5),
            at(0.9 * w, 0.7 + drop, 0.52),
            at(0.4 * w, 0.78 + drop, 0.52),
            at(0, 0.7 + drop, 0.54),
        ]
        left = [
            at(-0.4 * w, 0.78 + drop, 0.52),
            at(-0.9 * w, 0.7 + drop, 0.52),
            at(-w, 0.4 + drop / 2, 0.5),
            at(-0.24, 0.06, 0.34),
        ]
        figure.part(blob(*outline, *left), muzzle)
        for s in (-1, 1):
            self._eye(figure, at(0.38 * s * wide, -0.14, 0.24))
            smile = curve(
                at(0, 0.66 + drop, 0.56), at(0.2 * s, 0.76 + drop, 0.55), at(0.92 * w * s, 0.6 + drop, 0.5)
            )
            figure.line(smile, lips, 0.05)
        figure.line(curve(at(0, 0.36 + drop, 0.6), at(0, 0.66 + drop, 0.56)), lips, 0.045)
        top = 0.12 + drop
        nose = [
            at(-0.22, top + 0.02, 0.6),
            at(0, top - 0.04, 0.6),
            at(0.22, top + 0.02, 0.6),
            at(0.2, top + 0.18, 0.6),
            at(0, top + 0.31, 0.6),
            at(-0.2, top + 0.18, 0.6),
        ]
        figure.flat(blob(*nose), _DARK)
        figure.flat(ellipse(at(-0.04, top + 0.04, 0.6), 0.12, 0.035), (128, 122, 124))
        for s in (-1, 1):
            figure.flat(ellipse(at(0.1 * s, top + 0.16, 0.6), 0.05, 0.035, 0.4 * s), (6, 5, 6))
        return figure

    def _eye(self, figure: Figure, centre: complex) -> None:
        figure.flat(ellipse(centre, 0.185, 0.165), blend(_DARK, self.coat.base, 0.1))
        figure.flat(ellipse(centre, 0.14, 0.135), self.eye)
        figure.flat(ellipse(centre + 0.01j, 0.085, 0.09), (12, 10, 10))
        figure.flat(ellipse(centre + (-0.05 - 0.055j), 0.042, 0.042), (255, 255, 255))

    def _pricked_ears(self, figure: Figure, back: float) -> None:
        for s in (-1, 1):
            outer, near = complex(s * 0.84 + back, -0.3), complex(s * 0.2 + back, -0.72)
            tip = complex(s * 0.66 + back, -0.6 - 1.0 * self.ear_length)
            figure.part(petal(outer, tip, near, 0.12), self.coat.ear(), -1j)
            inner = blend((120, 84, 76), self.coat.base, 0.3)
            figure.part(
                petal(outer + 0.1j, tip + 0.1j, near + 0.1j, 0.1, 0.62), Fill(inner, (), 0.04, 0.1, 0.7), -1j
            )

    def _hanging_ears(self, figure: Figure, back: float) -> None:
        long = self.ear_length
        for s in (-1, 1):
            if self.ears == "folded":
                flap = petal(
                    complex(s * 0.2 + back, -0.86),
                    complex(s * 0.94 + back, 0.08 * long),
                    complex(s * 0.98 + back, -0.66),
                    0.14,
                )
                figure.part(flap, self.coat.ear(), 0.5 * s + 1j)
            else:
                knots = (
                    0.46 - 0.84j,
                    0.86 - 0.8j,
                    1.16 - 0.3j,
                    1.24 + 0.4j * long,
                    1.02 + 0.82j * long,
                    0.76 + 0.5j * long,
                    0.7 - 0.1j,
                )
                outline = blob(*(complex(s * k.real + back, k.imag) for k in knots))
                figure.part(outline, self.coat.ear(), 0.2 * s + 1j)

    def side_head(self, rng: random.Random) -> Figure:
        """The head in profile, looking to the right."""
        figure, coat = Figure(), self.coat
        m, lips = 0.5 + 0.62 * self.muzzle, blend(_DARK, coat.muzzle().colour, 0.15)
        if self.ears == "pricked":
            figure.part(
                petal(-0.2 - 0.7j, 0.1 - 0.6j - 0.95j * self.ear_length, 0.34 - 0.64j, 0.08), coat.ear(), -1j
            )
        jaw_drop = 0.2 if self.panting else 0.0
        jaw = limb(
            (0.3 + 0.42j, 0.6 + (0.5 + 0.6 * jaw_drop) * 1j, m + 0.22 + (0.44 + jaw_drop) * 1j),
            (0.24, 0.17, 0.1),
        )
        figure.part(jaw, coat.muzzle(), 1 + 0j)
        if self.panting:
            tongue = limb((0.6 + 0.46j, m - 0.02 + 0.56j, m + 0.08 + 0.98j), (0.08, 0.14, 0.13))
            figure.part(tongue, Fill(_TONGUE, (), 0, 0.03))
        skull = blob(
            -0.84 + 0.1j, -0.66 - 0.5j, -0.2 - 0.84j, 0.3 - 0.76j, 0.58 - 0.42j, 0.78 - 0.22j,
            m + 0.2 - 0.14j, m + 0.44 - 0.02j, m + 0.46 + 0.22j, m + 0.2 + 0.4j,
            0.62 + 0.5j, 0.1 + 0.74j, -0.5 + 0.66j,
        )  # fmt: skip
        muzzle = blob(0.66 - 0.05j, m - 0.3j, m + 0.7 - 0.2j, m + 0.6 + 0.7j, 0.5 + 0.8j)
        marks = [Patch(coat.muzzle().colour, muzzle, 0.1)]
        if coat.pattern in ("patched", "spotted", "saddled"):
            cap = blob(-1 + 0.3j, -0.9 - 0.9j, 0.45 - 0.9j, 0.5 - 0.3j, 0.2 + 0.1j)
            marks.insert(0, Patch(coat.second, cap, 0.07))
        figure.part(skull, coat.face(*marks), -1 + 0.3j)
        self._eye(figure, 0.42 - 0.24j)
        figure.line(curve(m + 0.36 + 0.27j, m + 0.02 + 0.4j, 0.62 + 0.36j, 0.5 + 0.28j), lips, 0.05)
        figure.flat(blob(m + 0.26 - 0.12j, m + 0.46 - 0.14j, m + 0.54 + 0.04j, m + 0.42 + 0.14j), _DARK)
        figure.flat(ellipse(m + 0.42 - 0.07j, 0.05, 0.03), (128, 122, 124))
        long = self.ear_length
        if self.ears == "pricked":
            figure.part(petal(-0.62 - 0.45j, -0.42 - 0.55j - 1.02j * long, 0.1 - 0.66j, 0.1), coat.ear(), -1j)
        elif self.ears == "folded":
            figure.part(
                blob(-0.5 - 0.66j, -0.2 - 0.98j, 0.16 - 0.7j, 0.2 - 0.2j * long, -0.1 - 0.3j), coat.ear()
            )
        else:
            figure.part(
                blob(
                    -0.45 - 0.62j,
                    -0.1 - 0.72j,
                    0.1 - 0.3j,
                    0.06 + 0.5j * long,
                    -0.25 + 0.82j * long,
                    -0.5 + 0.5j * long,
                    -0.55 - 0.1j,
                ),
                coat.ear(),
            )
        return figure

    def add_tail(self, figure: Figure, root: complex, rng: random.Random, lying: bool) -> None:
        """A tail that tapers: bushy, plumed, a sabre or docked; stretched out behind a dog that lies."""
        droop = rng.uniform(-0.2, 0.5)
        if self.tail == "docked":
            knots, radii = (
                [root, root + complex(-0.28, -0.3), root + complex(-0.42, -0.6)],
                [0.22, 0.17, 0.12],
            )
        elif lying:
            knots = [root, root + complex(-0.9, 0.25), complex(root.real - 1.7, -0.16)]
            radii = [0.22, 0.22, 0.1]
        else:
            lift = 1.5 - 2.2 * droop
            knots = [
                root,
                root + complex(-0.6, -0.3 * lift),
                root + complex(-1.15, -0.75 * lift),
                root + complex(-1.3, -1.25 * lift),
            ]
            radii = {
                "bushy": [0.2, 0.34, 0.34, 0.12],
                "plume": [0.2, 0.26, 0.28, 0.08],
                "sabre": [0.19, 0.16, 0.12, 0.06],
            }[self.tail]
        shaggy = 2.2 if self.tail in ("bushy", "plume") else 1.0
        figure.part(limb(knots, radii), self.coat.tail(root, knots[-1], shaggy), knots[-1] - root)
