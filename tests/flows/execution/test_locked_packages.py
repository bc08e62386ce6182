from importlib.metadata import version

from flows.execution.locked_packages import MISSING, read_lock, unlike_project


def project(folder, *dependencies, lock=""):
    requirements = ", ".join(f'"{name}"' for name in dependencies)
    (folder / "pyproject.toml").write_text(f"[project]\nname = 't'\ndependencies = [{requirements}]\n", "utf-8")
    (folder / "requirements.lock").write_text(f"# pins\n{lock}", "utf-8")
    return unlike_project(folder)


def test_packages_are_compared_as_far_as_the_project_needs_them(tmp_path):
    click, pandas, numpy = version("click"), version("pandas"), version("numpy")
    lock = f"click=={click}\npandas=={pandas}\nnumpy=={numpy}\nruff==0.0.1\nno-such-thing==1\n"
    assert project(tmp_path, "click>=8", "Pandas[all]>=2", lock=lock) == {}
    assert project(tmp_path, "pandas", lock=lock.replace(numpy, "0.1")) == {"numpy": (numpy, "0.1")}
    assert project(tmp_path, "no_such.thing", lock=lock) == {"no-such-thing": (MISSING, "1")}


def test_the_build_of_a_package_is_no_other_version(tmp_path):
    assert project(tmp_path, "torch", lock=f"torch=={version('torch').partition('+')[0]}\n") == {}


def test_the_lock_is_read_with_comments_and_markers_and_canonical_names(tmp_path):
    lock = tmp_path / "requirements.lock"
    lock.write_text("# pins\nRuamel.YAML==0.18.6  # kept\n\ntyping_extensions==4.1 ; python_version < '4'\n", "utf-8")
    assert read_lock(lock) == {"ruamel-yaml": "0.18.6", "typing-extensions": "4.1"}
