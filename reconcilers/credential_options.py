"""The options of a manifest that name credentials. The credentials themselves are in files of the controller's host."""

import posixpath
from collections.abc import Mapping
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from reconcilers.fields import File, text
from reconcilers.spec import BasicAuth


def user_name(value: object) -> str:
    """Reads the name of a user, which HTTP's Basic scheme ends at a colon."""
    name = text(value)
    if ":" in name:
        raise ValueError("expected a user's name without a colon")
    return name


class BasicAuthOptions(BaseModel):
    """The options of `status.basic_auth:`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    username: Annotated[str, BeforeValidator(user_name)] = ""
    password_file: File

    @model_validator(mode="before")
    @classmethod
    def _a_password_is_in_a_file(cls, given: object) -> object:
        """Refuses a password in the manifest, which everybody can read, without a word about the other fields."""
        if isinstance(given, dict) and ("password" in given or not given.get("password_file")):
            raise ValueError("expected username and password_file, a file with the password")
        return given

    def as_basic_auth(self) -> BasicAuth:
        return BasicAuth(self.username, self.password_file)


def basic_auth_texts(auth: BasicAuth) -> Mapping[str, str]:
    return {"username": auth.username, "password_file": auth.password_file}


def is_below(file: str, folder: str) -> bool:
    """Returns whether the path `file` is below `folder` by its text. A link may still lead out of the folder."""
    root = posixpath.normpath(folder).rstrip("/")
    return ".." not in file.split("/") and posixpath.normpath(file).startswith(f"{root}/")
