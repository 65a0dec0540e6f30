"""Errors of connections: what they mean in a few words, and whether it is of use to connect again."""

from __future__ import annotations

import os
import socket
import ssl

UNKNOWN_ISSUER = (18, 19, 20, 21)
"""OpenSSL's codes (X509_V_ERR_*) for self-signed certificates, and those whose issuer is not known here."""


def is_permanent(error: BaseException) -> bool:
    """Whether connecting again fails in the same way: there is no such host, or TLS does not accept the other side."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(is_permanent, error.exceptions))
    if isinstance(error, socket.gaierror):
        return error.errno == socket.EAI_NONAME
    if isinstance(error, ssl.SSLError):
        return not isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError)
    if isinstance(error, UnicodeError | PermissionError):
        return True
    return error.__cause__ is not None and is_permanent(error.__cause__)


def reason(error: BaseException) -> str:
    """The reason of an error in a few words: the system's own, without what trio and ssl add to it."""
    if isinstance(error, BaseExceptionGroup):
        return reason(error.exceptions[0])
    if isinstance(error, ssl.SSLCertVerificationError):
        advice = "; to trust it, add ?ca=FILE to the URL" if error.verify_code in UNKNOWN_ISSUER else ""
        return f"its certificate is not valid here: {error.verify_message}{advice}"
    if isinstance(error, ssl.SSLError):
        return f"TLS failed: {(error.reason or error.strerror or 'no reason given').replace('_', ' ').lower()}"
    if error.__cause__ is not None and not (isinstance(error, OSError) and error.errno):
        return reason(error.__cause__)
    text = (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
    if isinstance(error, OSError) and error.errno and error.errno > 0 and text.endswith(os.strerror(error.errno)):
        return os.strerror(error.errno)  # without the address, which trio puts before it
    return text
