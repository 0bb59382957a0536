"""What tokens and keys look like, whatever they are called: the prefixes that their makers gave them to be found by."""

from __future__ import annotations

import re
from functools import cache

_TOKEN = r"""(?x)\b(?:
    eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?    # a JSON web token
    | eyJ[\w+/-]{32,}={0,2}                 # JSON in base64, such as a registry's login
    | (?:AKIA|ASIA)[A-Z0-9]{12,}            # AWS
    | AIza[\w-]{30,}                        # Google
    | ya29\.[\w-]{20,}
    | GOCSPX-[\w-]{20,}
    | gh[pousr]_\w{20,}                     # GitHub
    | github_pat_\w{20,}
    | gl(?:pat|ptt|dt|rt|cbt|ft)-[\w.-]{20,}   # GitLab
    | hf_[A-Za-z0-9]{20,}                   # Hugging Face
    | nvapi-[\w-]{20,}                      # NVIDIA
    | sk-[\w-]{20,}                         # OpenAI, Anthropic and others
    | [sr]k_(?:live|test)_\w{16,}           # Stripe
    | (?:xox[a-z]|xapp)-[\w-]{10,}          # Slack
    | npm_\w{30,}
    | pypi-[\w-]{30,}
    | dop_v1_\w{30,}                        # DigitalOcean
    | SG\.[\w-]{16,}\.[\w-]{16,}            # SendGrid
    )"""


@cache
def token() -> re.Pattern[str]:
    """Compiled when it is first wanted: that takes 7 ms, which no start has to spare."""
    return re.compile(_TOKEN)
