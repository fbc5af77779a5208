"""How the data of tasks are found, chosen and read: images, texts,
and files of both.
"""
