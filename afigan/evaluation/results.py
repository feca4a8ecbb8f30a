"""COCO results of one kind, of boxes or of masks."""


def results_of(results: list[dict], kind: str) -> list[dict]:
    """Return the results for one kind of metric, `bbox` or `segm`, in the form of COCO's evaluation and server.

    Mask results have the mask's score, and no boxes, because COCO would take their size from the boxes' areas.
    """
    if kind == "bbox":
        return [{k: r[k] for k in ("image_id", "category_id", "bbox", "score")} for r in results]
    return [
        {k: r[k] for k in ("image_id", "category_id", "segmentation")} | {"score": r.get("mask_score", r["score"])}
        for r in results
    ]
