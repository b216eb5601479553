"""`errata demo`: the whole loop on the embedded model, through HTTP and the SDK alone, as an application would."""
