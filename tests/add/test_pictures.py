"""`pipeline add`: pictures of markdown cells come along."""

from add_samples import untagged
from conftest import notebook

from notebook_pipeline.add.pictures import find_pictures
from notebook_pipeline.notebook.document import parse


def test_pictures_of_markdown_cells(tmp_path):
    origin = tmp_path / "work/deep"
    for name in (
        "work/deep/images/logo.png",
        "work/deep/a b.jpg",
        "work/up.svg",
        "work/deep/note.txt",
        "work/other/up.gif",
        "work/more/logo.png",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    text = (
        "# T\n![logo](images/logo.png) and ![x](a%20b.jpg 'title') <img width=3 src='../up.svg'>\n![y](<../other/up.gif>)\n"
        "![web](https://example.com/images/logo.png) ![inner](attachment:logo.png) ![gone](gone.png) ![text](note.txt)"
        "[link](images/logo.png) ![again](../more/logo.png) ![again](../more/logo.png)"
    )
    given = parse(untagged({"cell_type": "markdown", "source": text}, "s = '![z](../up.svg)'"), "x.ipynb")
    found, places = find_pictures(given, origin, "notebooks")
    assert found.cells[0].source == text.replace("../up.svg", "images/up.svg").replace("../other/", "images/").replace(
        "../more/", "images/more_"
    )
    assert found.cells[1].source == given.cells[1].source
    assert {file.relative_to(tmp_path).as_posix(): place for file, place in places.items()} == {
        "work/deep/images/logo.png": "notebooks/images/logo.png",
        "work/deep/a b.jpg": "notebooks/a b.jpg",
        "work/up.svg": "notebooks/images/up.svg",
        "work/other/up.gif": "notebooks/images/up.gif",
        "work/more/logo.png": "notebooks/images/more_logo.png",
    }


def test_pictures_come_along(bare, tmp_path):
    (tmp_path / "work/images").mkdir(parents=True)
    (tmp_path / "work/images/logo.png").write_bytes(b"PNG")
    attached = {
        "cell_type": "markdown",
        "source": "![a](attachment:b.png)",
        "attachments": {"b.png": {"image/png": "AAAA"}},
    }
    shown = {"cell_type": "markdown", "source": "![logo](images/logo.png)"}
    (tmp_path / "work/x.ipynb").write_text(notebook("N = 1", shown, attached))
    for name, text in {"params.yaml": "", "dvc.yaml": "stages:\n"}.items():
        bare.write(name, text)
    bare.run("dvc", "init", "--quiet", "--no-scm")
    said = bare.pipeline("add", "--no-run", str(tmp_path / "work/x.ipynb")).stdout
    assert f"notebooks/images/logo.png: copied from {tmp_path / 'work/images/logo.png'}\n" in said
    assert (bare.path / "notebooks/images/logo.png").read_bytes() == b"PNG"
    assert "logo.png" not in bare.read("dvc.yaml") and '"AAAA"' in bare.read("notebooks/x.ipynb")
    (tmp_path / "work/images/logo.png").write_bytes(b"other")
    (tmp_path / "work/y.ipynb").write_text(notebook("N = 1", shown))
    done = bare.pipeline("add", "--no-run", str(tmp_path / "work/y.ipynb"), check=False)
    assert done.returncode == 1 and done.stdout == (
        "notebooks/images/logo.png already exists, and is another file. Fix: rename the one that y.ipynb shows\n"
    )
