"""Drawings as geometry: strings and numbers for attributes of SVG, without colours and without text."""
