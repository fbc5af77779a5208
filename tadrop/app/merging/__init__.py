"""`tadrop merge`: from ordinary arguments or a recipe to a folder that loaders read."""
