"""COCO results of one kind, of boxes or of masks."""


def results_of(results: list[dict], kind: str) -> list[dict]:
    """The results for one kind of metric, `bbox` or `segm`, as COCO's evaluation and its server take them.

    Mask results have no boxes, or they would be measured by the areas of these; and the score of the mask.
    """
    if kind == "bbox":
        return [{k: r[k] for k in ("image_id", "category_id", "bbox", "score")} for r in results]
    return [
        {k: r[k] for k in ("image_id", "category_id", "segmentation")} | {"score": r.get("mask_score", r["score"])}
        for r in results
    ]
