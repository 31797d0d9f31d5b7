// What each bundler gets.
import { scenario } from './scenario.mjs'

scenario().then((state) => console.log(state))
