"""Google's API Improvement Proposals as pure functions: filters, orders, pages, masks, names, proto3 JSON.

Knows no HTTP and no SQL.

Source: https://google.aip.dev
"""
