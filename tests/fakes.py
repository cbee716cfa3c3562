"""Small data sets in their exact official form: folders, names, label files and their oddities."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import openpyxl
import xlwt
from PIL import Image
from scipy.io import savemat

LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
LIVE_RAW = {
    "jp2k": "jpeg2000 compression",
    "jpeg": "jpeg compression",
    "wn": "white noise",
    "gblur": "gaussian blur",
    "fastfading": "white noise",  # sic
}


def picture(path: Path, seed: int, size: tuple[int, int] = (24, 16), form: str | None = None, **options) -> Path:
    """A coloured image of `size` (width, height) that no other seed gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(
        encoded(seed, size, form or {".png": "PNG", ".bmp": "BMP"}.get(path.suffix.lower(), "JPEG"), **options)
    )
    return path


def encoded(seed: int, size: tuple[int, int], form: str, **options) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (4, 6, 3), np.uint8))
    buffer = io.BytesIO()
    coarse.resize(size, Image.Resampling.BICUBIC).save(buffer, form, **options)
    return buffer.getvalue()


def write_csv(path: Path, header: list[str], rows: list[list], **options) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, **options).writerows([header, *rows])


def liqe_labels(root: Path, folder: str, prefix: str, rows: list[tuple[str, float, str, tuple[str, ...]]]) -> None:
    """LIQE's files: every session rotates the images through test (a fifth), validation (a tenth), training."""
    for session in range(1, 11):
        target = root / "IQA_Database" / folder / "splits2" / str(session)
        target.mkdir(parents=True, exist_ok=True)
        turned = rows[session % len(rows) :] + rows[: session % len(rows)]
        tests, vals = max(1, len(rows) // 5), max(1, len(rows) // 10)
        parts = {"test": turned[:tests], "val": turned[tests : tests + vals], "train": turned[tests + vals :]}
        for part, chosen in parts.items():
            lines = [
                "\t".join([name, f"{mos:.6f}", raw, *scenes, *["invalid"] * (3 - len(scenes))])
                for name, mos, raw, scenes in chosen
            ]
            (target / f"{prefix}_{part}_clip.txt").write_text("\n".join(lines) + "\n")


def live(root: Path, labels: Path | None = None, images: bool = True) -> None:
    """All 982 images, 203 of them copies of 29 originals; fast-fading labels copied from white noise."""
    base = root / "databaserelease2"
    base.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    names = [(folder, i) for folder, count in LIVE_FOLDERS.items() for i in range(1, count + 1)]
    copies = np.zeros(982, int)
    kept = {"jp2k": 169, "jpeg": 175}
    start = 0
    for folder, count in LIVE_FOLDERS.items():
        if folder in kept:  # interspersed
            copies[start + rng.choice(count, count - kept[folder], replace=False)] = 1
        else:
            copies[start + 145 : start + count] = 1
        start += count
    originals = [f"original{i}.bmp" for i in range(29)]
    # Distorted images of wn and fastfading with the same number show different originals.
    references = np.array([originals[(position * 7 + len(folder)) % 29] for position, (folder, _) in enumerate(names)])
    dmos = np.where(copies == 1, 0.0, np.round(rng.uniform(-2.64, 111.77, 982), 4))
    dmos[0], copies[0] = 0.0, 0  # a distorted image with a DMOS of zero stays
    dmos[1], copies[1] = 111.774693, 0
    savemat(root / "dmos_realigned.mat", {"dmos_new": dmos[None], "dmos_std": dmos[None] * 0, "orgs": copies[None]})
    savemat(base / "dmos.mat", {"dmos": dmos[None] * 0.7, "orgs": copies[None]})
    cells = np.empty((1, 982), object)
    cells[0] = list(references)
    savemat(base / "refnames_all.mat", {"refnames_all": cells})
    for position, (folder, i) in enumerate(names):
        if images:
            picture(base / folder / f"img{i}.bmp", position)
    for i, name in enumerate(originals):
        if images:
            picture(base / "refimgs" / name, 5000 + i)
    if labels:
        scenes = ("animal", "plant", "night", "human")
        scene_of = {name: (scenes[i % 4], scenes[(i + 1) % 4]) for i, name in enumerate(originals)}
        reference_of = dict(zip(names, references, strict=True))
        rows = []
        for (folder, i), score, copy in zip(names, dmos, copies, strict=True):
            if not copy:
                shown = reference_of["wn" if folder == "fastfading" else folder, i]
                rows.append((f"{folder}/img{i}.bmp", 111.774693 - score, LIVE_RAW[folder], scene_of[shown]))
        liqe_labels(labels, "databaserelease2", "live", rows)


def csiq(root: Path, labels: Path | None = None, upper: bool = False) -> None:
    """Two originals, one of them called 1600 (an integer cell), header in row 4, columns D to I."""
    tokens = {
        "noise": "awgn/AWGN", "blur": "blur/BLUR", "contrast": "contrast/contrast", "fnoise": "fnoise/fnoise",
        "jpeg": "jpeg/JPEG", "jpeg 2000": "jpeg2000/jpeg2000",
    }  # fmt: skip
    raws = ("white noise", "gaussian blur", "contrast", "fnoise", "jpeg compression", "jpeg2000 compression")
    book = openpyxl.Workbook()
    book.active.title = "FLAT"
    book.active["A1"] = "#REF!"
    sheet = book.create_sheet("all_by_image")
    header = ["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]
    sheet["A1"] = "notes"
    for column, title in enumerate(header, start=4):
        sheet.cell(4, column, title)
    line, rows = 5, []
    for image in (1600, "elk"):
        for index, kind in enumerate(tokens, start=1):
            for level in range(1, 5 if kind == "contrast" else 6):
                dmos = round(0.05 + 0.0371 * level * index / 2, 5)
                for column, value in enumerate([image, index, kind, level, 0.06, dmos], start=4):
                    sheet.cell(line, column, value)
                line += 1
                folder, token = tokens[kind].split("/")
                name = f"dst_imgs/{folder}/{image}.{token}.{level}.png"
                disk = f"dst_imgs/{token if upper else folder}/{image}.{token}.{level}.png"
                picture(root / disk, line)
                rows.append((name, round(1 - dmos, 3), raws[index - 1], ("animal",)))
    picture(root / "src_imgs" / "1600.png", 1)
    book.save(root / "csiq.DMOS.xlsx")
    if labels:
        liqe_labels(labels, "CSIQ", "csiq", rows)


def kadid10k(root: Path, labels: Path | None = None) -> None:
    """Two originals with all 125 distortions, originals in the same folder."""
    from liqe_jax.synthetic import KINDS

    base = root / "kadid10k"
    table, rows = [], []
    for reference in (1, 2):
        picture(base / "images" / f"I{reference:02d}.png", reference)
        for kind in range(1, 26):
            for level in range(1, 6):
                name = f"I{reference:02d}_{kind:02d}_{level:02d}.png"
                picture(base / "images" / name, 1000 * reference + 10 * kind + level)
                score = round(4.9 - 0.7 * level + 0.01 * kind, 2)
                table.append([name, f"I{reference:02d}.png", score, 0.5])
                rows.append((f"images/{name}", score, KINDS[kind].raw_label, ("landscape", "plant")))
    write_csv(base / "dmos.csv", ["dist_img", "ref_img", "dmos", "var"], table)
    if labels:
        liqe_labels(labels, "kadid10k", "kadid10k", rows)


def bid(root: Path, labels: Path | None = None) -> None:
    """The old .xls with three sheets; one row whose grades are fewer than stated; one large photograph."""
    book = xlwt.Workbook()
    sheet = book.add_sheet("Plan1")
    book.add_sheet("Plan2")
    header = ["Image Number", "Average Subjective Grade", "Number of Grades", *[f"Grade #{i}" for i in range(1, 21)]]
    for column, title in enumerate(header):
        sheet.write(0, column, title)
    rows = []
    for line, number in enumerate((1, 3, 4, 5, 345, 590), start=1):
        grades = [1.0 + 0.1 * line, 2.0, 3.5]
        mean = sum(grades) / 3
        for column, value in enumerate([number, mean, 4 if number == 345 else 3, *grades]):
            sheet.write(line, column, value)
        name = f"ImageDatabase/DatabaseImage{number:04d}.JPG"
        picture(root / "BID" / name, number, (1280, 960) if number == 1 else (48, 32), quality=90)
        rows.append((name, mean, "realistic blur", ("night",)))
    book.save(root / "BID" / "DatabaseGrades.xls")
    if labels:
        liqe_labels(labels, "BID", "bid", rows)


def clive(root: Path, labels: Path | None = None) -> None:
    """The first seven entries are training images in a folder of their own."""
    base = root / "ChallengeDB_release"
    names = [*[f"t{i}.bmp" for i in range(1, 8)], "3.bmp", "4.bmp", "5.JPG", "6.JPG", "1164.JPG"]
    mos = np.array([63.96, 50, 40, 30, 20, 10, 77.88, 32.5611, 92.43, 3.42, 55.5, 61.25])
    cells = np.empty((len(names), 1), object)
    cells[:, 0] = names
    (base / "Data").mkdir(parents=True)
    savemat(base / "Data" / "AllImages_release.mat", {"AllImages_release": cells})
    savemat(base / "Data" / "AllMOS_release.mat", {"AllMOS_release": mos[None]})
    savemat(base / "Data" / "AllStdDev_release.mat", {"AllStdDev_release": mos[None] * 0})
    for i, name in enumerate(names):
        picture(base / "Images" / ("trainingImages" if i < 7 else "") / name, i)
    if labels:
        rows = [(f"Images/{n}", float(m), "underexposure", ("human",)) for n, m in zip(names[7:], mos[7:], strict=True)]
        liqe_labels(labels, "ChallengeDB_release", "clive", rows)


def koniq10k(root: Path, labels: Path | None = None) -> None:
    """Quoted names; a split file whose MOS is another quantity; copies at 512x384 beside the images."""
    base = root / "koniq10k"
    table, split, rows = [], [], []
    for i in range(6):
        name, counts = f"1000447{i}.jpg", [5, 10, 20, 30 + i, 35 - i]
        mos = sum(grade * count for grade, count in enumerate(counts, start=1)) / 100
        z = 20.0 + 10 * i
        table.append([name, *counts, 100, mos, 0.6, z])
        split.append([name, *[c / 100 for c in counts], 100, z, 0.6, ("training", "validation", "test")[i % 3]])
        picture(base / "1024x768" / name, i, (1024, 768))
        picture(base / "512x384" / name, i, (51, 38))
        rows.append((f"1024x768/{name}", mos, "other realistic", ("indoor", "human", "still_life")))
    counts = [f"c{i}" for i in range(1, 6)]
    header = ["image_name", *counts, "c_total", "MOS", "SD", "MOS_zscore"]
    write_csv(base / "koniq10k_scores_and_distributions.csv", header, table, quoting=csv.QUOTE_NONNUMERIC)
    header = ["image_name", *counts, "c_total", "MOS", "SD", "set"]
    write_csv(base / "koniq10k_distributions_sets.csv", header, split)
    if labels:
        liqe_labels(labels, "koniq-10k", "koniq10k", rows)


def tid2013(root: Path) -> None:
    """Cases as they come: i25 in lower case, names in the text in upper case, some suffixes in capitals."""
    lines = []
    for reference in ("I01", "I25"):
        for kind in range(1, 25):
            for level in (1, 5):
                lines.append(f"{5.5 - level:.5f} {reference}_{kind:02d}_{level}.bmp")
                suffix = ".BMP" if kind in (11, 13) else ".bmp"
                stem = reference if kind == 1 else reference.lower()
                picture(root / "distorted_images" / f"{stem}_{kind:02d}_{level}{suffix}", len(lines))
    picture(root / "reference_images" / "I01.BMP", 1)
    picture(root / "reference_images" / "i25.bmp", 2)
    (root / "mos_with_names.txt").write_text("\r\n".join(lines) + "\r\n")


def spaq(root: Path) -> None:
    """Two spreadsheets; scenes are probabilities; one photograph of full size that EXIF says to rotate."""
    from liqe_jax.data.sets.excel_files import SCENE_COLUMNS, SPAQ_MOS, SPAQ_SCENES

    (root / "Annotations").mkdir(parents=True)
    book = openpyxl.Workbook()
    book.active.append(["Image name", "MOS", "Brightness", "Colorfulness", "Contrast", "Noisiness", "Sharpness"])
    scenes = openpyxl.Workbook()
    scenes.active.append(["Image name", *SCENE_COLUMNS])
    exif = Image.Exif()
    exif[0x0112] = 6
    for i in range(1, 5):
        book.active.append([f"{i:05d}.jpg", 20.5 * i, 50, 50, 50, 50, 50])
        scenes.active.append([f"{i:05d}.jpg", 0, 0.3 if i == 2 else 0, 1, *[0] * 5, 0.1 if i == 4 else 0])
        picture(root / "TestImage" / f"{i:05d}.jpg", i, (1200, 900) if i == 1 else (40, 60), exif=exif)
    book.save(root / "Annotations" / SPAQ_MOS)
    scenes.save(root / "Annotations" / SPAQ_SCENES)


def pipal(root: Path) -> None:
    """Two originals in two of the four folders; label files without a header."""
    for reference, folder in (("A0001", "Distortion_1"), ("A0248", "Distortion_4")):
        names = [f"{reference}_{code}.bmp" for code in ("00_00", "00_01", "06_26")]
        (root / "Train_Label").mkdir(parents=True, exist_ok=True)
        (root / "Train_Label" / f"{reference}.txt").write_text(
            "".join(f"{name},{1400 + i}.0648\n" for i, name in enumerate(names))
        )
        for i, name in enumerate(names):
            picture(root / folder / name, 10 * len(folder) + i + len(name) * int(reference[1:]))
        picture(root / "Train_Ref" / f"{reference}.bmp", 1)


def agiqa3k(root: Path) -> None:
    """CRLF, quoted prompts with commas."""
    header = ["name", "prompt", "adj1", "adj2", "style", "mos_quality", "std_quality", "mos_align", "std_align"]
    table = [
        [f"{model}_{i:03d}.jpg", "a cat, a dog", "", "", "", 0.5 + i, 0.1, 4.0, 0.1]
        for model in ("AttnGAN_normal", "sd1.5_lowcorr") for i in range(3)
    ]  # fmt: skip
    write_csv(root / "data.csv", header, table, quoting=csv.QUOTE_ALL)
    for i, row in enumerate(table):
        picture(root / "file" / row[0], i)


def flive(root: Path) -> None:
    """Names with folders and a .JPG; the split in two more files."""
    names = [
        "voc_emotic_ava/AVA__1.jpg",
        "voc_emotic_ava/VOC__2.JPG",
        "blur_dataset/motion1.jpg",
        "EE371R/cj23478+019.jpg",
    ]
    write_csv(root / "labels_image.csv", ["name", "mos"], [[name, 50.5 + i] for i, name in enumerate(names)])
    write_csv(root / "labels640.csv", ["mos_image", "name_image", "width_image"], [[50.5, names[0], 1024]])
    padded = [[names[1], 51.5, "False"], [names[2], 52.5, "True"], [names[3], 53.5, "False"]]
    write_csv(root / "labels=640_padded.csv", ["name_image", "mos_image", "is_valid"], padded)
    for i, name in enumerate(names):
        picture(root / "database" / name, i)
    picture(root / "database" / "patches" / "AVA__1.jpg", 77)


def folder_csv(root: Path) -> None:
    """Five formats, a byte-order mark, and every optional column."""
    forms = {"a.jpg": "JPEG", "b.png": "PNG", "deep/c.webp": "WEBP", "deep/d.tif": "TIFF", "e.bmp": "BMP"}
    for i, (name, form) in enumerate(forms.items()):
        picture(root / name, i, form=form)
    (root / "labels.csv").write_bytes(
        b"\xef\xbb\xbfimage,mos,distortion,scenes,reference,split,split_b\n"
        b"a.jpg,1.5,jitter,human|night,r1,train,test\n"
        b"b.png,2.5,blur,,r1,val,\n"
        b"deep/c.webp,3,,plant,,test,train\n"
        b"./deep/d.tif,4,,,,,\n"
        b"e.bmp,5.25,overexposure,,,train,val\n"
    )


WITH_LIQE = {"live": live, "csiq": csiq, "kadid10k": kadid10k, "bid": bid, "clive": clive, "koniq10k": koniq10k}
OTHERS = {
    "tid2013": tid2013,
    "spaq": spaq,
    "pipal": pipal,
    "agiqa3k": agiqa3k,
    "flive": flive,
    "folder_csv": folder_csv,
}
