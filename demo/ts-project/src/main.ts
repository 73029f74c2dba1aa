#!/usr/bin/env node
import { render, summarise } from "./report.js";
import { walk } from "./walk.js";

const root = process.argv[2] ?? ".";
console.log(render((await summarise(walk(root))).slice(0, 8)));
