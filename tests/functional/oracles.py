"""The losses once more, slowly and in float64, written from their formulas with loops over images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

Array = np.ndarray


def softmax(logits: Array) -> Array:
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def relative_entropy(teacher: Sequence[float], student: Sequence[float]) -> float:
    return sum(t * (math.log(t) - math.log(s)) for t, s in zip(teacher, student, strict=True) if t > 0)


def kd(student: Array, teacher: Array, temperature: float = 4.0) -> float:
    rows = zip(softmax(teacher / temperature), softmax(student / temperature), strict=True)
    return temperature**2 * float(np.mean([relative_entropy(t, s) for t, s in rows]))


def kd_of_each_class(student: Array, teacher: Array, temperature: float = 4.0) -> float:
    cells = []
    for s, t in zip(student.flatten(), teacher.flatten(), strict=True):
        p, q = (1 / (1 + math.exp(-z / temperature)) for z in (t, s))
        cells.append(relative_entropy([p, 1 - p], [q, 1 - q]))
    return temperature**2 * float(np.mean(cells))


def tckd(student: Array, teacher: Array, target: Array, temperature: float = 4.0) -> float:
    shares = [softmax(z / temperature) for z in (teacher, student)]
    pairs = [[(p[i, y], 1 - p[i, y]) for p in shares] for i, y in enumerate(target)]
    return temperature**2 * float(np.mean([relative_entropy(t, s) for t, s in pairs]))


def nckd(student: Array, teacher: Array, target: Array, temperature: float = 4.0) -> float:
    total = 0.0
    for i, y in enumerate(target):
        others = [np.delete(z[i : i + 1], y, axis=1) / temperature for z in (teacher, student)]
        total += relative_entropy(softmax(others[0])[0], softmax(others[1])[0])
    return temperature**2 * total / len(target)


def dkd(student: Array, teacher: Array, target: Array) -> float:
    return tckd(student, teacher, target) + 8 * nckd(student, teacher, target)


def standardized_kd(student: Array, teacher: Array) -> float:
    student, teacher = (
        (z - z.mean(1, keepdims=True)) / (z.std(1, ddof=1, keepdims=True) + 1e-7) for z in (student, teacher)
    )
    return kd(student, teacher, 2.0)


def dist(student: Array, teacher: Array, temperature: float = 1.0) -> float:
    shares = [softmax(z / temperature) for z in (student, teacher)]
    rows = [np.corrcoef(s, t)[0, 1] for s, t in zip(*shares, strict=True)]
    columns = [np.corrcoef(s, t)[0, 1] for s, t in zip(*(p.T for p in shares), strict=True)]
    return temperature**2 * float(2 - np.mean(rows) - np.mean(columns))


def ofa(student: Array, teacher: Array, target: Array, gamma: float = 1.5) -> float:
    ours, theirs, total = softmax(student), softmax(teacher), 0.0
    for i, y in enumerate(target):
        for c in range(student.shape[1]):
            is_target = float(c == y)
            total -= ((theirs[i, c] + is_target) ** gamma - is_target) * math.log(ours[i, c])
    return total / len(target)


def relate_classes(student: Array, teacher: Array, temperature: float = 1.0) -> float:
    found, classes = [], student.shape[1]
    for ours, theirs in zip(student / temperature, teacher / temperature, strict=True):
        for c in range(classes):
            products = [np.array([[z[c] * z[d] / math.sqrt(classes) for d in range(classes)]]) for z in (theirs, ours)]
            found.append(relative_entropy(softmax(products[0])[0], softmax(products[1])[0]))
    return float(np.mean(found))


def relate_images(student: Array, teacher: Array, temperature: float = 1.0) -> float:
    found, (images, classes) = [], student.shape
    for c in range(classes):
        columns = [z[:, c] / temperature for z in (teacher, student)]
        for i in range(images):
            products = [np.array([[z[i] * z[j] / math.sqrt(classes) for j in range(images)]]) for z in columns]
            found.append(relative_entropy(softmax(products[0])[0], softmax(products[1])[0]))
    return float(np.mean(found))


def dfra(student: Array, teacher: Array, alpha: float = 3.0, temperature: float = 2.0) -> float:
    relations = relate_classes(student, teacher, temperature) + relate_images(student, teacher, temperature)
    return relations + alpha * kd(student, teacher, temperature) / temperature**2


def correlate_images(student: Array, teacher: Array, temperature: float) -> float:
    ours, theirs, total = softmax(student / temperature), softmax(teacher / temperature), 0.0
    for i in range(len(ours)):
        for j in range(len(ours)):
            total += (theirs[i] @ theirs[j] - ours[i] @ ours[j]) ** 2
    return total / len(ours)


def correlate_classes(student: Array, teacher: Array, temperature: float) -> float:
    ours, theirs, total = softmax(student / temperature), softmax(teacher / temperature), 0.0
    classes = ours.shape[1]
    for c in range(classes):
        for d in range(classes):
            total += (theirs[:, c] @ theirs[:, d] - ours[:, c] @ ours[:, d]) ** 2
    return total / classes


def mld(
    student_weak: Array, student_strong: Array, teacher_weak: Array, teacher_strong: Array, form: str = "code"
) -> float:
    temperatures, shares = (4.0, 3.0, 5.0, 2.0, 6.0), softmax(teacher_weak)
    confidence, mass = shares.max(axis=1), shares.sum(axis=0)
    images, classes = confidence <= np.median(confidence), mass <= np.median(mass)
    levels = images.mean() * sum(correlate_images(student_weak, teacher_weak, t) for t in temperatures)
    levels += classes.mean() * sum(correlate_classes(student_weak, teacher_weak, t) for t in temperatures)
    if form == "code":
        levels += images.mean() * sum(kd(student_weak, teacher_weak, t) for t in temperatures)
        levels += sum(kd(student_strong, teacher_strong, t) for t in temperatures[:3])
        return float(levels + sum(kd(student_weak, teacher_weak, t) for t in temperatures[3:]))
    for i in np.flatnonzero(images):
        one = slice(i, i + 1)
        levels += sum(kd(student_weak[one], teacher_weak[one], t) for t in temperatures) / len(images)
    return float(levels + sum(kd(student_strong, teacher_strong, t) for t in temperatures))


def pool(feature_map: Array, height: int, width: int) -> Array:
    """Average over the cells that a grid of height x width cuts, overlapping where it does not divide."""
    batch, channels, rows, columns = feature_map.shape
    result = np.zeros((batch, channels, height, width))
    for i in range(height):
        top, bottom = i * rows // height, -(-(i + 1) * rows // height)
        for j in range(width):
            left, right = j * columns // width, -(-(j + 1) * columns // width)
            result[:, :, i, j] = feature_map[:, :, top:bottom, left:right].mean(axis=(2, 3))
    return result


def align(student: Array, teacher: Array) -> tuple[Array, Array]:
    grid = tuple(np.minimum(student.shape[2:], teacher.shape[2:]))
    return pool(student, *grid), pool(teacher, *grid)


def attention(feature_map: Array) -> Array:
    maps = (feature_map**2).mean(axis=1).reshape(len(feature_map), -1)
    return maps / np.linalg.norm(maps, axis=1, keepdims=True)


def at(students: Sequence[Array], teachers: Sequence[Array]) -> float:
    pairs = [align(s, t) for s, t in zip(students, teachers, strict=True)]
    return float(sum(np.mean((attention(s) - attention(t)) ** 2) for s, t in pairs))


def at_of_the_paper(students: Sequence[Array], teachers: Sequence[Array], power: float) -> float:
    total = 0.0
    for pair in zip(students, teachers, strict=True):
        for maps in zip(*align(*pair), strict=True):
            ours, theirs = ((np.abs(m) ** power).sum(axis=0) for m in maps)
            total += np.linalg.norm(ours / np.linalg.norm(ours) - theirs / np.linalg.norm(theirs)) / len(pair[0])
    return float(total)


def nst(students: Sequence[Array], teachers: Sequence[Array]) -> float:
    total = 0.0
    for pair in zip(students, teachers, strict=True):
        flat = [m.reshape(*m.shape[:2], -1) for m in align(*pair)]
        ours, theirs = (m / np.linalg.norm(m, axis=2, keepdims=True) for m in flat)

        def kernel(first: Array, second: Array) -> float:
            return float(np.mean([[(a @ b) ** 2 for a in f for b in s] for f, s in zip(first, second, strict=True)]))

        total += kernel(theirs, theirs) + kernel(ours, ours) - 2 * kernel(ours, theirs)
    return total


def pkt(student: Array, teacher: Array) -> float:
    def share(rows: Array) -> Array:
        unit = [row / (np.linalg.norm(row) + 1e-7) for row in rows]
        similarity = np.array([[(a @ b + 1) / 2 for b in unit] for a in unit])
        return similarity / similarity.sum(axis=1, keepdims=True)

    ours, theirs = share(student), share(teacher)
    return float(np.mean(theirs * np.log((theirs + 1e-7) / (ours + 1e-7))))


def sp(student: Array, teacher: Array) -> float:
    def similarity(rows: Array) -> Array:
        products = np.array([[a.ravel() @ b.ravel() for b in rows] for a in rows])
        return products / np.linalg.norm(products, axis=1, keepdims=True)

    return float(np.mean((similarity(student) - similarity(teacher)) ** 2))


def smooth(gap: float) -> float:
    return gap**2 / 2 if abs(gap) < 1 else abs(gap) - 0.5


def rkd_distance(student: Array, teacher: Array) -> float:
    def distances(rows: Array) -> Array:
        lengths = np.array([[np.linalg.norm(a - b) for b in rows] for a in rows])
        return lengths / lengths[lengths > 0].mean()

    return float(np.mean(np.vectorize(smooth)(distances(student) - distances(teacher))))


def rkd_angle(student: Array, teacher: Array) -> float:
    def cosine(rows: Array, i: int, j: int, k: int) -> float:
        first, second = rows[j] - rows[i], rows[k] - rows[i]
        lengths = np.linalg.norm(first) * np.linalg.norm(second)
        return float(first @ second / lengths) if lengths else 0.0

    count = range(len(student))
    gaps = [cosine(student, i, j, k) - cosine(teacher, i, j, k) for i in count for j in count for k in count]
    return float(np.mean([smooth(gap) for gap in gaps]))


def cc(student: Array, teacher: Array) -> float:
    gaps = np.abs(student - teacher)
    return float(np.mean([gaps[i] @ gaps[i + 1] for i in range(len(gaps) - 1)]))


def rsd(student: Array, teacher: Array, kappa: float = 0.3) -> float:
    ours, theirs = ((z - z.mean(axis=0)) / (z.std(axis=0) + 1e-5) for z in (student, teacher))
    total, width = 0.0, student.shape[1]
    for i in range(width):
        for j in range(width):
            correlation = float(np.mean([t[i] * s[j] for t, s in zip(theirs, ours, strict=True)]))
            total += (correlation - 1) ** 2 if i == j else kappa * correlation**2
    return total


def cc_kernel(student: Array, teacher: Array, gamma: float = 0.4, order: int = 2) -> float:
    def kernel(first: Array, second: Array) -> float:
        cosine = first @ second / (np.linalg.norm(first) * np.linalg.norm(second))
        return math.exp(-2 * gamma) * sum((2 * gamma * cosine) ** p / math.factorial(p) for p in range(order + 1))

    pairs = [(i, j) for i in range(len(student)) for j in range(len(student))]
    return float(np.mean([(kernel(student[i], student[j]) - kernel(teacher[i], teacher[j])) ** 2 for i, j in pairs]))


def hint(student: Array, teacher: Array) -> float:
    return float(np.mean((student - teacher) ** 2))


def hcl(students: Sequence[Array], teachers: Sequence[Array]) -> float:
    total = 0.0
    for student, teacher in zip(students, teachers, strict=True):
        value, weight, weights = hint(student, teacher), 0.5, 1.0
        for side in (4, 2, 1):
            if side < min(student.shape[2:]):
                value += weight * hint(pool(student, side, side), pool(teacher, side, side))
                weights, weight = weights + weight, weight / 2
        total += value / weights
    return total


def vid(mean: Array, target: Array, variance: Array) -> float:
    spread = variance.reshape(1, -1, 1, 1)
    return float(np.mean(0.5 * ((mean - target) ** 2 / spread + np.log(spread))))


def ofd(student: Array, teacher: Array, margin: Array) -> float:
    total = 0.0
    for (i, c, h, w), ours in np.ndenumerate(student):
        theirs = max(teacher[i, c, h, w], margin[c])
        total += (ours - theirs) ** 2 if ours > theirs or theirs > 0 else 0.0
    return total / len(student)


def crd(scores: Array) -> float:
    count, samples, total = scores.shape[1] - 1, 50, 0.0
    for row in scores:
        total -= math.log(row[0] / (row[0] + count / samples + 1e-7))
        total -= sum(math.log(count / samples / (q + count / samples + 1e-7)) for q in row[1:])
    return total / len(scores)


def rank_regularization(weights: Array) -> float:
    ordered = sorted(weights.ravel(), reverse=True)
    count = int(0.7 * len(ordered))
    return max(0.0, 0.15 - (float(np.mean(ordered[:count])) - float(np.mean(ordered[count:]))))


def flip_consistency(cam: Array, flipped: Array) -> float:
    return float(np.mean((cam - flipped[:, :, :, ::-1]) ** 2))
