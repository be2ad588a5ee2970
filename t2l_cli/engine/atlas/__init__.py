"""Layered neural atlases (Kasten et al., TOG 2021): a clip as two pictures, coordinates into them and an opacity."""
