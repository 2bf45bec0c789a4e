"""`python -m numq`."""

from numq.cli import main

raise SystemExit(main())
