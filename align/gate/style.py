"""How a report looks: one style sheet, for light and dark screens and for paper."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --faint: #6b7785; --paper: #fff; --met: #18794e; --open: #ad5700;
  --failed: #cd2b31; --rule: #d7dde3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaee; --faint: #97a3b0; --paper: #12181f; --met: #4cc38a;
  --open: #f5a524; --failed: #ff6369; --rule: #33404c; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 64rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; overflow-wrap: anywhere; } h2 { font-size: 1.1rem; }
.badge { border: 1px solid currentColor; border-radius: .4em; padding: .05em .5em; white-space: nowrap; }
.badge.met, .badge.admitted { color: var(--met); } .badge.open, .badge.held { color: var(--open); }
.badge.failed, .badge.refused { color: var(--failed); } .badge.not-judged { color: var(--faint); }
figure { margin: 1.5rem 0; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { font-size: 12px; fill: var(--ink); }
line { stroke-width: 2.5; } line.neutral { stroke: var(--faint); stroke-width: 1; }
line.bound { stroke: var(--ink); stroke-width: 1.5; stroke-dasharray: 3 2; }
line.met { stroke: var(--met); } line.open { stroke: var(--open); } line.failed { stroke: var(--failed); }
line.not-judged { stroke: var(--faint); }
.met { fill: var(--met); } .open { fill: var(--open); } .failed { fill: var(--failed); }
.not-judged { fill: var(--faint); }
table { border-collapse: collapse; width: 100%; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .3rem .5rem; border-bottom: 1px solid var(--rule); vertical-align: top; }
"""
