"""How well the tables of one suite predict those of another: do they rank methods alike?"""
