"""Write the table of git-annex's settings into docs/reference/git-annex-settings.md: python tools/settings_table.py"""

from pathlib import Path

from p2pannex.git_annex.settings import table

PAGE = Path(__file__).parent.parent / "docs/reference/git-annex-settings.md"

if __name__ == "__main__":
    text = PAGE.read_text()
    PAGE.write_text(text[: text.index("| setting |")] + table())
