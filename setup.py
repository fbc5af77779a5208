"""What an installed tadrop consists of: see pyproject.toml for everything else.

In a checkout the configuration, the formulas and the published numbers are folders of
their own. Installed they lie in the package, as tadrop/conf, tadrop/baselines and
tadrop/published, so that `tadrop` is the only name that can be imported.
"""

from setuptools import find_namespace_packages, find_packages, setup

FOLDERS = ("baselines", "conf")

packages = find_packages(include=["tadrop", "tadrop.*"])
for folder in FOLDERS:
    packages.append(f"tadrop.{folder}")
    for package in find_namespace_packages(folder):
        packages.append(f"tadrop.{folder}.{package}")

places = {f"tadrop.{folder}": folder for folder in FOLDERS}
places["tadrop.published"] = "results/published"

setup(packages=[*packages, "tadrop.published"], package_dir=places)
