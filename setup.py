"""What an installed tadrop consists of: see pyproject.toml for everything else.

In a checkout the configuration and the formulas are folders of their own. Installed they
lie in the package, as tadrop/conf and tadrop/baselines, so that `tadrop` is the only
name that can be imported.
"""

from setuptools import find_namespace_packages, find_packages, setup

FOLDERS = ("baselines", "conf")

packages = find_packages(include=["tadrop", "tadrop.*"])
for folder in FOLDERS:
    packages.append(f"tadrop.{folder}")
    for package in find_namespace_packages(folder):
        packages.append(f"tadrop.{folder}.{package}")

setup(
    packages=packages,
    package_dir={f"tadrop.{folder}": folder for folder in FOLDERS},
)
