"""What is to be loaded: the registry of assets, `dbt_project/seeds/assets.csv`."""
