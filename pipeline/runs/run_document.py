"""Check the fields of a run.json, which another program may have written or damaged."""

_FIELDS = {"fingerprint": str, "run_id": str, "decides": dict, "config": dict, "storage": dict}


def document_problem(document: dict) -> str | None:
    """Return the field of run.json that cannot be used, or None. All but the fingerprint may be missing."""
    for name, kind in _FIELDS.items():
        if not isinstance(document.get(name, kind()), kind):
            return name
    for name in ("decides", "config"):
        step = document.get(name, {}).get("frame_step", 1)
        if type(step) is not int or step < 1:
            return f"frame_step of {name}"
    if not isinstance(document.get("retried_with", []), list):
        return "retried_with"
    missing = document.get("storage", {}).get("missing") or []
    if not isinstance(missing, list) or not all(isinstance(text, str) for text in missing):
        return "storage"
    return None if document.get("fingerprint") else "fingerprint"
