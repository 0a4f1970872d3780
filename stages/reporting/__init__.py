"""Charts, picture grids and the page that holds them, in one colour a variant."""
