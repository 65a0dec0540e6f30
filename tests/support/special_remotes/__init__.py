"""Special remote programs, as their authors write them."""

from pathlib import Path

PLAIN = Path(__file__).parent / "plain.py"
MADE_EASY = Path(__file__).parent / "made_easy.py"
"""Made with annexremote."""
