"""A real browser for the tests of the status page: Chromium, driven by Playwright.

- `chromium.py`: start the browser.
- `page_watch.py`: open pages, and record everything that goes wrong on them.
- `accessibility.py`: what axe-core finds on a page, and whether it fits its width.
- `addresses.py`: every page of a scenario.
"""
