"""Trains the sample models `digits` and `language` anew: python -m backends.embedded.training."""

from __future__ import annotations

import json
import math
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Labels = npt.NDArray[np.int64]

REPOSITORY = Path(__file__).parent / "repository"
SIZE = 28


def arc(cx: float, cy: float, rx: float, ry: float, start: float, end: float) -> list[tuple[float, float]]:
    """Points on an ellipse, degrees clockwise from the right, y downwards, in the unit square."""
    angles = np.radians(np.linspace(start, end, 16))
    return [(cx + rx * math.cos(a), cy + ry * math.sin(a)) for a in angles]


# Each digit as the strokes of a pen in the unit square.
STROKES: tuple[list[list[tuple[float, float]]], ...] = (
    [arc(0.5, 0.5, 0.27, 0.38, 0, 360)],
    [[(0.36, 0.28), (0.52, 0.12), (0.52, 0.88)]],
    [[*arc(0.5, 0.32, 0.24, 0.2, 180, 380), (0.27, 0.86), (0.76, 0.86)]],
    [arc(0.47, 0.31, 0.24, 0.19, 200, 450), arc(0.47, 0.68, 0.27, 0.2, -90, 160)],
    [[(0.58, 0.12), (0.22, 0.62), (0.8, 0.62)], [(0.62, 0.4), (0.62, 0.9)]],
    [[(0.73, 0.13), (0.34, 0.13), (0.3, 0.46), *arc(0.48, 0.64, 0.26, 0.23, 230, 510)]],
    [[(0.66, 0.12), (0.34, 0.5), *arc(0.5, 0.66, 0.23, 0.22, 180, 540)]],
    [[(0.24, 0.14), (0.77, 0.14), (0.42, 0.88)]],
    [arc(0.5, 0.3, 0.2, 0.18, 0, 360), arc(0.5, 0.68, 0.25, 0.2, 0, 360)],
    [[*arc(0.5, 0.34, 0.23, 0.22, 0, 360), (0.72, 0.4), (0.6, 0.88)]],
)


def draw(digit: int, rng: np.random.Generator) -> Array:
    """One image [28, 28] of `digit` with values 0..1: a pen of random width, slant, size, place and noise."""
    turn, slant = rng.normal(0, 0.13), rng.normal(0, 0.18)
    sx, sy = rng.uniform(0.68, 1.0, 2)
    matrix = np.array([[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]) @ np.array(
        [[sx, slant], [0, sy]]
    )
    shift = 0.5 + rng.normal(0, 0.045, 2)
    width = rng.uniform(0.03, 0.065)
    ys, xs = np.mgrid[0:SIZE, 0:SIZE]
    pixels = (np.stack([xs, ys], axis=-1) + 0.5) / SIZE
    distance = np.full((SIZE, SIZE), 9.0)
    for stroke in STROKES[digit]:
        points = (np.array(stroke) - 0.5 + rng.normal(0, 0.012, (len(stroke), 2))) @ matrix.T + shift
        for a, b in pairwise(points):
            along = np.clip(((pixels - a) @ (b - a)) / max(float((b - a) @ (b - a)), 1e-9), 0, 1)
            distance = np.minimum(distance, np.linalg.norm(pixels - (a + along[..., None] * (b - a)), axis=-1))
    ink = np.clip((width - distance) * SIZE + 0.5, 0, 1) * rng.uniform(0.75, 1)
    return np.clip(ink + rng.normal(0, 0.06, ink.shape), 0, 1).astype(np.float32)


def images(count: int, seed: int) -> tuple[Array, Labels]:
    """`count` images [count, 28, 28] and what they show [count], the digits in turn."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 10
    return np.stack([draw(int(label), rng) for label in labels]), labels


def softmax(logits: Array) -> Array:
    scores = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(scores / scores.sum(axis=1, keepdims=True), dtype=np.float32)


def train(pixels: Array, labels: Labels, sizes: list[int], epochs: int, seed: int) -> list[Array]:
    """Weights and biases of a perceptron with ReLU between its layers, by Adam on the cross entropy."""
    rng = np.random.default_rng(seed)
    weights: list[Array] = []
    for fan_in, fan_out in pairwise(sizes):
        weights.append(rng.normal(0, math.sqrt(2 / fan_in), (fan_in, fan_out)).astype(np.float32))
        weights.append(np.zeros(fan_out, dtype=np.float32))
    first, second = [np.zeros_like(w) for w in weights], [np.zeros_like(w) for w in weights]
    step = 0
    for _ in range(epochs):
        for batch in np.array_split(rng.permutation(len(pixels)), max(1, len(pixels) // 64)):
            layers = [pixels[batch]]
            for layer in range(0, len(weights), 2):
                out = layers[-1] @ weights[layer] + weights[layer + 1]
                layers.append(out if layer == len(weights) - 2 else np.maximum(out, 0))
            error = softmax(layers[-1])
            error[np.arange(len(batch)), labels[batch]] -= 1
            error /= len(batch)
            step += 1
            for layer in range(len(weights) - 2, -1, -2):
                slopes = (layers[layer // 2].T @ error, error.sum(axis=0))
                error = (error @ weights[layer].T) * (layers[layer // 2] > 0)
                for at, slope in zip((layer, layer + 1), slopes, strict=True):
                    first[at] = 0.9 * first[at] + 0.1 * slope
                    second[at] = 0.999 * second[at] + 0.001 * slope**2
                    fast = first[at] / (1 - 0.9**step)
                    weights[at] -= 0.002 * fast / (np.sqrt(second[at] / (1 - 0.999**step)) + 1e-8)
    return weights


def answer(pixels: Array, weights: list[Array]) -> Labels:
    out = pixels
    for layer in range(0, len(weights), 2):
        out = out @ weights[layer] + weights[layer + 1]
        if layer < len(weights) - 2:
            out = np.maximum(out, 0)
    return np.asarray(out.argmax(axis=1))


SENTENCES = {
    "English": """The quick brown fox jumps over the lazy dog. Where is the nearest railway station? I would like a
        cup of coffee with milk. The weather will be fine tomorrow, but it may rain in the evening. She has been
        working on this all day and wants to go home. What time does the shop open? We should talk about what happened
        last week. There is nothing better than a good book and a warm fire. They have known each other for years.""",
    "German": """Der schnelle braune Fuchs springt über den faulen Hund. Wo ist der nächste Bahnhof? Ich hätte gern
        eine Tasse Kaffee mit Milch. Das Wetter wird morgen schön, aber am Abend kann es regnen. Sie hat den ganzen
        Tag daran gearbeitet und möchte nach Hause gehen. Wann macht das Geschäft auf? Wir sollten darüber sprechen,
        was letzte Woche geschehen ist. Es gibt nichts Besseres als ein gutes Buch und ein warmes Feuer. Sie kennen
        sich schon seit Jahren und verstehen einander ohne viele Worte.""",
    "French": """Le rapide renard brun saute par-dessus le chien paresseux. Où est la gare la plus proche ? Je
        voudrais une tasse de café avec du lait. Il fera beau demain, mais il pourrait pleuvoir dans la soirée. Elle a
        travaillé là-dessus toute la journée et veut rentrer chez elle. À quelle heure ouvre le magasin ? Nous
        devrions parler de ce qui s'est passé la semaine dernière. Il n'y a rien de mieux qu'un bon livre et un feu
        bien chaud.""",
    "Spanish": """El rápido zorro marrón salta sobre el perro perezoso. ¿Dónde está la estación más cercana? Quisiera
        una taza de café con leche. Mañana hará buen tiempo, pero puede llover por la tarde. Ella ha trabajado en esto
        todo el día y quiere irse a casa. ¿A qué hora abre la tienda? Deberíamos hablar de lo que pasó la semana
        pasada. No hay nada mejor que un buen libro y un fuego que calienta. Se conocen desde hace muchos años.""",
    "Italian": """La rapida volpe marrone salta sopra il cane pigro. Dov'è la stazione più vicina? Vorrei una tazza di
        caffè con il latte. Domani farà bel tempo, ma la sera potrebbe piovere. Lei ha lavorato a questo tutto il
        giorno e vuole andare a casa. A che ora apre il negozio? Dovremmo parlare di quello che è successo la
        settimana scorsa. Non c'è niente di meglio di un buon libro e di un fuoco che scalda. Si conoscono da molti
        anni.""",
}


def count_trigrams() -> dict[str, object]:
    """Log probabilities of each letter trigram by language, one added to every count."""
    counts = []
    for sentences in SENTENCES.values():
        text = f" {' '.join(sentences.lower().split())} "
        counts.append(Counter(text[i : i + 3] for i in range(len(text) - 2)))
    known = sorted(set().union(*counts))
    totals = [sum(count.values()) + len(known) for count in counts]
    both = list(zip(counts, totals, strict=True))
    return {
        "languages": list(SENTENCES),
        "unseen": [round(math.log(1 / total), 3) for total in totals],
        "trigrams": {t: [round(math.log((count[t] + 1) / total), 2) for count, total in both] for t in known},
    }


def main() -> None:
    pixels, labels = images(6000, seed=1)
    flat = pixels.reshape(len(pixels), -1)
    tests, truth = images(1000, seed=2)
    # Version 1 saw little: softmax regression on 150 images. Version 2 saw them all and has a hidden layer.
    simple = train(flat[:150], labels[:150], [SIZE * SIZE, 10], epochs=60, seed=3)
    better = train(flat, labels, [SIZE * SIZE, 48, 10], epochs=12, seed=4)
    half = [w.astype(np.float16) for w in simple + better]
    np.savez_compressed(REPOSITORY / "digits/1/weights.npz", weight=half[0], bias=half[1])
    np.savez_compressed(
        REPOSITORY / "digits/2/weights.npz", weight1=half[2], bias1=half[3], weight2=half[4], bias2=half[5]
    )
    # Twenty images, the digits in turn, a byte a pixel: what the demo's traffic sends.
    (REPOSITORY / "digits/samples.bin").write_bytes((images(20, seed=5)[0] * 255).astype(np.uint8).tobytes())
    table = json.dumps(count_trigrams(), ensure_ascii=False, separators=(",", ":"))
    (REPOSITORY / "language/1/trigrams.json").write_text(table, encoding="utf-8")
    for version, weights in (("1", simple), ("2", better)):
        right = float((answer(tests.reshape(len(tests), -1), weights) == truth).mean())
        print(f"digits version {version}: {right:.1%} of 1000 new images right")


if __name__ == "__main__":
    main()
