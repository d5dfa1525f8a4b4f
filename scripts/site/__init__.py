"""The site: one folder of static pages that shows the state of the data and the meaning of every number.

Data flow: selects on marts (queries/) -> templates/ -> site/index.html, site/symbol.html
           one select per series -> site/data/*.js, which the symbol page loads on demand
           documents.py: dbt docs, column lineage, the feature dictionary

The pages need no server and ask for nothing outside the folder, so they work from a file. Data files are scripts, because
a page that was opened from a file may not fetch().
"""

from scripts.site.dashboard import CHARTS_SCRIPT, DAY, Built, build, is_old
from scripts.site.documents import DocumentsFailed, FeaturesWrong, build_documents, write_dictionary

__all__ = [
    "CHARTS_SCRIPT",
    "DAY",
    "Built",
    "DocumentsFailed",
    "FeaturesWrong",
    "build",
    "build_documents",
    "is_old",
    "write_dictionary",
]
