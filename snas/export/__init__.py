"""The last room: the network that a search has found, trained to the end, measured once, and made ready for use.

``results/<run>/best/`` holds its weights, an ONNX file, what is needed to apply it to image files (``snas predict``), a
model card and a page that shows the search.  Importing this package imports neither torch nor ONNX.
"""
