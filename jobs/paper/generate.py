"""Write the configurations of this folder from the papers' tables: `python jobs/paper/generate.py`."""

from pathlib import Path

from hpcdistill.paper.cells import cells

FOLDER = Path(__file__).parent


def contents():
    """Each file's content by its path in this folder."""
    return {f"{cell.row.table}/{cell.name}.toml": cell.to_toml() for cell in cells()}


def main():
    for old in FOLDER.glob("*/*.toml"):
        old.unlink()
    for name, text in contents().items():
        (FOLDER / name).parent.mkdir(exist_ok=True)
        (FOLDER / name).write_text(text)
    print(f"wrote {len(contents())} files")


if __name__ == "__main__":
    main()
